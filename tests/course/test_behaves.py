"""What small changes of a function are said to amount to: pure text, nothing is run."""

import ast

import pytest

from yaie.course.behaves import EVERYONES, Words
from yaie.course.changes import NAMES, changed, changes
from yaie.course.language.python import RANKS
from yaie.course.registry import exercises

STATEMENT = "You may use `self.take(count)`, `self.free`, a list, and `self.limit`. Raise a `ValueError`."
SOURCE = """\
def admit(self, number, spare=0):
    room = self.limit - number
    if room < spare:
        raise ValueError(number)
    taken = self.take(max(number, spare))
    for page in self.free:
        if page in taken:
            continue
        self.free.append(page)
    self.count += len(taken)
    return list(taken[:number]) + spare
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("room < spare", "room <= spare", "a comparison of `self.limit`, `number` and `spare` were off by one"),
        ("room < spare", "room > spare", "a comparison of `self.limit`, `number` and `spare` were the wrong way round"),
        ("self.limit - number", "self.limit + number", "`number` were added where it is to be subtracted"),
        ("self.limit - number", "(self.limit)", "`number` were left out"),
        ("if room < spare", "if False", "no ValueError were raised because of `self.limit`, `number` and `spare`"),
        (
            "max(number, spare)",
            "min(number, spare)",
            "`min` were taken of `number` and `spare` where it is to be `max`",
        ),
        ("taken = self.take(max(number, spare))", "pass", "`self.take` were not called"),
        ("self.take(max(number, spare))", "(max(number, spare))", "`self.take` were not called"),
        ("in self.free:", "in list(self.free)[:-1]:", "the last of `self.free` were left out"),
        ("in self.free:", "in list(self.free)[::-1]:", "the loop on `self.free` went from the end to the beginning"),
        ("taken[:number]", "taken[:]", "`self.take`, `number` and `spare` were not cut at the end"),
        ("[:number]", "[1:number]", "the first of what comes from `self.take`, `number` and `spare` were left out"),
        ("taken[:number]", "taken[:(number - 1)]", "`number` were one too small in one place"),
        ("(number, spare))", "(number, number))", "`number` were used in a place of `spare`"),
        ("(max(number, spare))", "(self.limit)", ""),
        ("+ spare", "- spare", "`spare` were subtracted where it is to be added"),
        ("self.count += len(taken)", "pass", ""),  # nobody knows of `self.count`
    ],
)
def test_a_change_is_told_by_names_that_a_learner_knows(old, new, said):
    """Would catch a sentence that says another thing than what was changed, and one with a name of the engine's own."""
    texts = {changed(SOURCE.encode(), change).decode(): change for change in changes(SOURCE.encode(), wide=True)}
    assert SOURCE.count(old) == 1
    change = texts.get(SOURCE.replace(old, new))
    assert change or not said
    assert not change or Words(SOURCE, STATEMENT).of(change) == (said and f"It behaves as if {said}.")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("look(rest)", "look(tokens)", "the first argument of `look` were `tokens` itself"),
        (
            "tokens.sort()\n    node.size = 0\n    node.key = look(rest)",
            "node.size = 0\n    node.key = look(rest)\n    tokens.sort()",
            "the call of `tokens.sort` came too late, after the change of `node.size` and the call of `look`",
        ),
        (
            "tokens.sort()\n    node.size = 0",
            "node.size = 0\n    tokens.sort()",
            "the change of `node.size` came before the call of `tokens.sort`",
        ),
        # behind the line that reads it, which is an error of another kind
        (
            "rest = tokens[1:]\n    tokens.sort()\n    node.size = 0\n    node.key = look(rest)",
            "tokens.sort()\n    node.size = 0\n    node.key = look(rest)\n    rest = tokens[1:]",
            "",
        ),
    ],
)
def test_a_change_across_several_statements_is_told(old, new, said):
    """Would catch a step that comes too late by more than one place, one of several that it passed told as if it alone
    were what counts, and an argument that is told without its name."""
    source = """\
def name(tokens, node):
    rest = tokens[1:]
    tokens.sort()
    node.size = 0
    node.key = look(rest)
"""
    assert source.count(old) == 1
    texts = {changed(source.encode(), change).decode(): change for change in changes(source.encode(), wide=True)}
    change = texts.get(source.replace(old, new))
    assert bool(change) == bool(said)
    words = Words(source, "You may use `look(tokens)`, `tokens.sort()` and `node.size`.")
    assert not change or words.of(change) == f"It behaves as if {said}."


def test_a_list_that_is_not_made_a_tensor_is_not_told_by_where_its_numbers_came_from():
    source = b"def send(model, past):\n    token = model.next(past)\n    return model.take(torch.tensor([token]))\n"
    texts = {changed(source, change): change for change in changes(source, wide=True)}
    change = texts[source.replace(b"torch.tensor([token])", b"([token])")]
    said = Words(source.decode(), "`model.next` and `model.take`").of(change)
    assert said == "It behaves as if a list were not made a tensor."


def test_every_change_of_every_exercise_has_a_rank_and_no_name_of_the_engines():
    """Would catch a kind of change without words, which ends a check in an error, and an answer that is given away."""
    for exercise in exercises():
        if not exercise.language.quick:
            continue
        source = exercise.language.reference(exercise)
        function = ast.parse(source).body[0]
        words = Words(source, exercise.statement)
        known = {each.arg for each in ast.walk(function) if isinstance(each, ast.arg)}
        for change in changes(source.encode(), wide=True):
            assert change.kind in RANKS
            quoted = words.of(change).split("`")[1::2]
            assert all(
                name in known or name in exercise.statement or name in EVERYONES | NAMES.keys() for name in quoted
            ), change
