"""What a check says: the likely cause, headlines, and results that are too long to be read."""

import pytest

from yaie.course import alike, expect, judge
from yaie.course.registry import find_exercise

FLOOR = "`//` rounds down, so the last block"


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ("return num_tokens // self.block_size", True),
        ("return int(num_tokens / self.block_size)", True),  # the same mistake in other words
        # These agree with it on the smallest input that goes wrong, and not on a later one.
        ("return num_tokens // self.block_size + (num_tokens > 4000)", False),
        ("return num_tokens // self.block_size if num_tokens < 4000 else None", False),
        ("return num_tokens // self.block_size if num_tokens < 4000 else [][0]", False),
    ],
)
def test_a_cause_agrees_on_all_inputs(body, cause, warm_up):
    """One that is named because the smallest failing input agrees sends a learner the wrong way."""
    warm_up.write(body)
    outcome = judge.check("0.1")
    assert outcome.status == judge.FAILED
    assert dict(outcome.rows)["Tried"] == "blocks_needed(0), blocks_needed(1), ... blocks_needed(9) with block_size 4"
    assert dict(outcome.rows).get("Likely cause", "").startswith(FLOOR) == cause
    assert ("Likely cause" in dict(outcome.rows)) == cause


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("number of blocks", "The number of blocks is wrong."),
        ("requests with pages afterwards", "The requests with pages afterwards are wrong."),
        ("ids and length", "The ids and length are wrong."),
        ("pages found (the result)", "The pages found (the result) are wrong."),
        ("status", "The status is wrong."),
        ("bytes (keys, values)", "The bytes (keys, values) are wrong."),
        ("median, in seconds", "The median, in seconds, is wrong."),
        ("what was evicted", "Wrong: what was evicted."),
        ("`waiting` afterwards", "Wrong: `waiting` afterwards."),
        ("request.num_computed_tokens", "Wrong: request.num_computed_tokens."),
        (
            "text of the request with seed 7, which it gets alone",
            "Wrong: text of the request with seed 7, which it gets alone.",
        ),
    ],
)
def test_a_headline_is_a_sentence(what, said):
    """ "is wrong" behind a long label, or behind several things, is none."""
    assert judge._is_wrong(what) == said


class Counting:
    """A sandbox in which the engine's own function counts so many; or runs out of time."""

    def __init__(self, courses):
        self.courses = courses

    def run(self, job):
        return {"end": "finished" if self.courses else "timeout", "result": {"passed": True, "score": self.courses}}


@pytest.mark.parametrize(
    ("count", "courses", "said"),
    [
        (1768, 1024, "1,768 copies of tensors, on all inputs together. The course's: 1,024. There is a better way."),
        (5, 5, "5 copies of tensors, on all inputs together. The course's: 5. That is as good."),
        (4, 5, "4 copies of tensors, on all inputs together. The course's: 5. Yours is better."),
        (4, None, "4 copies of tensors, on all inputs together. The course's could not be counted now: check again."),
    ],
)
def test_a_score_stands_beside_the_courses(count, courses, said):
    """A number alone says nothing, and the course's is not the best there can be. (That a wrong answer gets none, and
    that both are counted in the same way, is a promise of each exercise with a score.)"""
    mine = {"end": "finished", "result": {"passed": True, "score": count}}
    assert judge._score_rows(find_exercise("17.2"), mine, Counting(courses)) == [("Score", said)]
    assert judge._score_rows(find_exercise("17.1"), mine, Counting(courses)) == []


def test_one_thing_is_not_several():
    """Would catch "1 layers", and "1 layer" where it is 11 or 2.1."""
    with expect.given("1 layers, 1 tokens; 11 tokens, 2.1 layers, 1 of 2 layers"):
        assert expect.current_input == "1 layer, 1 token; 11 tokens, 2.1 layers, 1 of 2 layers"


def report(**found):
    result = {"kind": "mismatch", "what": "result", "headline": "", "given": "f(1)", "first_difference": "at [7]: 1"}
    return {"end": "finished", "code": 0, "result": result | found, "stack": "", "current_input": ""}


def test_long_results_come_after_the_first_difference():
    """Two thousand characters before the one line that helps are not read."""
    exercise = find_exercise("0.1")
    short, long = report(got="1", expected="2"), report(got="1" * 2000, expected="2" * 2000)
    assert [label for label, _ in judge._describe(exercise, short, "")] == [
        "Tried",
        "Expected",
        "Got",
        "First difference",
    ]
    rows = judge._describe(exercise, long, "")
    assert [label for label, _ in rows] == ["Tried", "First difference", "Expected", "Got"]
    assert max(len(text) for _, text in rows) < 250
    assert "by hand" in judge._headline(exercise, short, True)[1]
    assert "by hand" not in judge._headline(exercise, long, True)[1]
    assert "by hand" not in judge._headline(exercise, report(got="1", expected="2", given="x" * 201), True)[1]


@pytest.mark.parametrize(
    ("one", "other", "tolerance", "same"),
    [
        ("[0.1414213, 2]", "[0.1414214, 2]", 1e-5, True),
        ("[0.1414213, 2]", "[0.1414214, 2]", None, False),
        ("[0.1414213, 2]", "[0.1514213, 2]", 1e-5, False),
        ("at index [3]: 0.25 instead of 1.0", "at index [4]: 0.25 instead of 1.0", 1.0, False),
        ("[0.5, 0.25]", "[0.5, 0.25, 0.125]", 1.0, False),
        ("[nan, 0.5]", "[0.5, 0.5]", 1.0, False),
        ("[0.5, 1e-07]", "[0.5, 0.0]", 1e-5, True),
        ("[0.5, 0.2500001, 0.1... (90 characters)", "[0.5, 0.25, 0.125, 0.2... (77 characters)", 1e-5, True),
        ("[0.5, 0.3500001, 0.1... (90 characters)", "[0.5, 0.25, 0.125, 0.2... (77 characters)", 1e-5, False),
    ],
)
def test_results_are_the_same_within_the_tolerance(one, other, tolerance, same):
    """A last bit, from a sum in another order, lost the cause of every second mistake in floats."""
    assert alike.same_text(one, other, tolerance) == same


def test_wrong_in_the_last_digit_alone_is_no_other_mistake():
    """Where the tolerance is so small that rounding shows, what is rounded otherwise has another cause."""
    for right, same in (("0.5", False), ("0.7", True)):
        ours, others = (
            report(got=got, expected=right, first_difference=f"{got} instead of {right}")["result"]
            for got in ("0.5000001", "0.5000002")
        )
        assert alike.same_manner(ours, others) == same


@pytest.mark.parametrize(("wrong", "same"), [("-1.0", True), ("0.2500001", False)])
def test_what_is_cut_before_its_first_wrong_number_is_not_wrong_in_the_last_digit_alone(wrong, same):
    """Where the first 200 numbers were right, no mistake explained an answer that computes in another order."""
    ours, others = (
        report(
            got=f"[{first}, 0.2... (2022 characters)",
            expected="[0.5, 0.2... (2022 characters)",
            first_difference=f"at index [1024]: {wrong} instead of 0.25",
            tolerance=1e-4,
        )["result"]
        for first in ("0.5000001", "0.5000002")
    )
    assert alike.same_manner(ours, others) == same


def test_what_is_cut_off_counts():
    """A mask of one row for all rows, or for a band of them: the first rows, which are shown, are right in both."""
    ours, others = (
        report(
            got=f"[1.0, -inf... ({count} characters)",
            expected="[1.0, -inf... (2024 characters)",
            first_difference="at index [1][1]: -inf instead of 66.0",
            tolerance=1e-4,
        )["result"]
        for count in (2022, 2018)
    )
    assert alike.same_manner(ours, ours)
    assert not alike.same_manner(ours, others)


def test_the_same_wrong_shape_is_not_the_same_mistake():
    ours, others = (report(got="[2]", expected="[3]", whole=whole)["result"] for whole in ("[1.0, 2.0]", "[2.0, 3.0]"))
    assert alike.same_manner(ours, ours)
    assert not alike.same_manner(ours, others)


def test_a_text_by_itself_is_a_result():
    """Ids inside a result may differ; whether `'torch'` or `'cuda'` came back instead of an error may not."""
    texts = ("'torch'", "'cuda'", "{'a': 1}", "{'b': 1}")
    torch_, cuda, a, b = (report(got="no error", expected="ValueError", whole=each)["result"] for each in texts)
    assert not alike.same_manner(torch_, cuda)
    assert alike.same_manner(a, b)


@pytest.mark.parametrize(("changes", "same"), [({}, True), ({"element": 5}, False), ({"array": "out"}, False)])
def test_a_kernel_has_the_name_that_its_author_likes(changes, same):
    """Without this no finding in a kernel that an answer names itself had a likely cause."""
    title = "out-of-bounds read of 4 bytes in {}, block (0,0,0) thread (1,0,0)"
    made = {"kind": "finding", "given": "f(1)", "error": "out_of_bounds", "array": "x", "element": 4}
    ours, others = (made | {"what": title.format(name), "unnamed": title.format("")} for name in ("mine", "theirs"))
    assert alike.same_manner(ours, others | changes) == same


def outcome_of(id, old, new):
    exercise = find_exercise(id)
    body = exercise.language.changed(exercise, old, new)
    return dict(judge.check(id, exercise.language.render(exercise.file, {id: body})).rows)


def test_arguments_that_changed_places_are_a_cause(warm_up):
    """No exercise lists them: any function can have them."""
    rows = outcome_of("19.4", "done = [", "first, between = between, first\n    done = [")
    assert rows["Likely cause"] == "The results are those that come out when `first` and `between` are exchanged."


def test_an_argument_that_is_not_looked_at_is_a_cause(warm_up):
    rows = outcome_of("20.4", "max(1, needed) + spare", "max(1, needed)")
    assert rows["Likely cause"] == "The results are those that come out when `spare` is always 0, whatever is given."
    assert rows["Note"] == "`replicas_needed` never looks at its argument `spare`."


@pytest.mark.parametrize(
    ("id", "old", "new", "cause"),
    [
        (
            "17.4",  # a name for another, from a statement on
            "if size not in self.replays:",
            "size = num_seqs\n    if size not in self.replays:",
            "It behaves as if `num_seqs` were used for `size`.",
        ),
        (
            "19.4",  # two at once
            "request.first <= first and (len(request.token_times) < 2 or request.between.mean() <= between)",
            "request.first < first and (len(request.token_times) < 2 or request.between.mean() < between)",
            "It behaves as if a comparison of `first` were off by one. "
            "It behaves as if a comparison of `between` were off by one.",
        ),
        (
            "7.1",  # a guard that should not be there
            "self.cache.lock(hit.node)",
            "if hit.length: self.cache.lock(hit.node)",
            "It behaves as if `self.cache.lock` were called in some cases only.",
        ),
    ],
)
def test_a_small_change_of_the_function_is_a_cause(id, old, new, cause, warm_up):
    """No exercise lists these."""
    assert outcome_of(id, old, new)["Likely cause"] == cause


@pytest.mark.parametrize(
    ("id", "old", "new", "false"),
    [
        # The first number is that of a listed mistake, the other one is right.
        ("1.3", "Inserted(position.length,", "Inserted(position.length or len(tokens),", "changed places"),
        # The same two tensors, but the norm was called in another way.
        (
            "5.3",
            "normed = operations.rms_norm(change, self.post_attention_norm, self.eps, residual)",
            "normed = operations.rms_norm(change + residual, self.post_attention_norm, self.eps, None)",
            "changed places",
        ),
        ("6.2", "budget -= self.chunk_size(request, budget)", "budget = (budget - 6) // 4 * 4", "was charged for more"),
    ],
)
def test_a_cause_agrees_in_all_results(id, old, new, false, warm_up):
    """A mistake that gives the same first result and not the others, or not on all inputs, is another one."""
    assert false not in outcome_of(id, old, new).get("Likely cause", "")


def test_a_part_of_answers_that_are_one_of_two_explains_nothing():
    """They can be wrong in one way only, so half of them agree with any mistake by chance."""
    exercise = find_exercise("17.8")
    body = "return len(branches) > 1 and num_pages >= min_saved"
    answer = f"def reading_once_pays(num_pages, branches, min_saved):\n    {body}"
    rows = dict(judge.check("17.8", exercise.language.with_answer(exercise, answer)).rows)
    assert "Reading once for all saves 4." in rows["Note"]
    assert "Likely cause" not in rows


def test_two_listed_mistakes_are_told_together():
    """Each explains what the other does not; and a mistake that explains two inputs alone is none."""
    assert judge._told([([0, 1], "a"), ([2], "b")], [], 3) == "a b"
    assert judge._told([([0, 1], "a"), ([2], "b"), ([2], "c")], [], 3) == ""
    assert judge._told([([0, 1], "a")], [], 3) == ""
    assert judge._told([([0, 1, 2], "a")], [], 4) == "a (It explains 3 of the 4 inputs that go wrong.)"


def test_where_a_number_of_a_python_answer_comes_from(warm_up):
    """What the function was called with is known, as it is for launchers."""
    new = "grouped.permute(0, 3, 2, 1, 4).reshape(num_seqs, num_kv_heads, -1, head_dim)"
    rows = outcome_of("3.3", "grouped.permute(0, 2, 3, 1, 4).flatten(2, 3)", new)
    assert "holds `query[0][0][2][0]`; `query[0][0][1][0]` belongs there." in rows["Pattern"]


def test_one_input_alone_goes_wrong(warm_up):
    """What is special about it is then the cause."""
    warm_up.write("return -(-num_tokens // self.block_size) if num_tokens != 4097 or self.block_size > 1 else 5")
    assert "The other 37 inputs that were tried come out right" in dict(judge.check("0.1").rows)["Elsewhere"]
    warm_up.write("return num_tokens + 7")
    assert "Elsewhere" not in dict(judge.check("0.1").rows)


def failures(*patterns):
    """A report of all inputs, of which those with a pattern have gone wrong."""
    each = {"kind": "mismatch", "error": "", "headline": "", "what": "result"}
    found = [each | {"given": f"n = {n}", "pattern": pattern} for n, pattern in enumerate(patterns)]
    inputs = [{"given": each["given"], "numbers": {}} for each in found]
    return {"result": {**found[0], "failures": found, "inputs": inputs}}


@pytest.mark.parametrize("little", ["", "All numbers are wrong.", "Only the last of 5 numbers is wrong."])
def test_a_larger_input_may_say_more(little):
    """One number of a small result that is wrong has no rule; of a larger one, those of each block are."""
    rule = "Wrong exactly where the index is 0, 256, 512, .... The wrong numbers are 0."
    some = "Wrong exactly where the row is 1."
    report = failures(little, little, some, rule)
    assert judge._elsewhere(report, lambda: report) == f"With n = 3: {rule}"
    report = failures(some, rule)
    assert judge._elsewhere(report, lambda: report) == ""


def test_an_error_on_a_larger_input_is_told():
    """Two faults, of which the one that is shown explains the other as little as it is explained."""
    report = failures("Wrong exactly where the row is 1.", "")
    error = {"kind": "error", "error": "IndexError", "message": "out of range", "line": 7, "code": "x[9]"}
    report["result"]["failures"][1] |= error
    told = "With n = 1: it raised IndexError: out of range, in line 7: `x[9]`."
    assert judge._elsewhere(report, lambda: report) == told


@pytest.mark.parametrize(
    ("error", "messages", "found"),
    [
        ("TypeError", ("missing 1 argument", "slice indices must be integers"), []),
        ("TypeError", ("missing 1 argument", "missing 1 argument"), [0]),
        ("IndexError", ("index 3 is out of bounds", "index out of range in self"), [0]),
    ],
)
def test_an_error_with_a_hundred_causes_is_explained_by_one_that_says_the_same(error, messages, found):
    """A mistake that calls a function wrongly must not be told to everyone whose answer raises a TypeError."""
    reports = [{"kind": "error", "given": "n = 1", "error": error, "message": message} for message in messages]
    assert alike.explained(reports[:1], reports[1:]) == found
    assert alike.explained([reports[0] | {"by_raise": True}], reports[:1]) == []


def explained_by(sandbox, *bodies):
    """What each body explains of the failures of an answer that divides and forgets the rest."""
    exercise = find_exercise("0.1")
    head = "def blocks_needed(self, num_tokens: int) -> int:\n    "
    wrong = exercise.language.render(exercise.file, {"0.1": f"{head}return num_tokens // self.block_size"})
    failures = judge._job(exercise, wrong, ["0.1"], sandbox, every=True)["result"]["failures"]
    found = judge._explained(exercise, [head + body for body in bodies], 0, failures, sandbox)
    return len(failures), [len(each) for each in found]


def test_a_change_without_end_keeps_no_other_from_being_found(sandbox):
    """Changes are tried in one process: one of them may loop, in Python or in C, and what it leaves must not reach the
    next."""
    count, found = explained_by(
        sandbox,
        "while True:\n        pass",
        "return num_tokens // self.block_size",
        "return sum(iter(int, 1))",  # hears of no signal
        "return -(-num_tokens // self.block_size)",
        "return int(num_tokens / self.block_size)",
        "return num_tokens // self.block_size + (num_tokens > 4000)",
    )
    assert found == [0, count, 0, 0, count, 0]
