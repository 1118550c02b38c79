"""What a learner calls: the card and the solution show the texts of the exercise and the source of the engine."""

import html
import inspect
import json
import re

import pytest

import yaie
from yaie.course import api
from yaie.course.registry import exercises, find_exercise
from yaie.kernels.kv_cache import KVCacheManager


@pytest.mark.parametrize("id", ["0.1", "8.1", "10.2", "10.4"])
def test_card_shows_the_statement(id):
    """A card with another text than the exercise file sends a learner looking for the true one."""
    words = find_exercise(id).statement.split()
    assert " ".join(words) in " ".join(str(api.exercise(id).card()).split())
    text = find_exercise(id).language.render(find_exercise(id).file)
    assert set(words) <= set(text.replace('"""', " ").split())


def test_the_file_to_edit_is_the_one_that_is_read(monkeypatch, tmp_path):
    """Where YAIE_EXERCISES_DIR names another folder, `exercises/` would be edited for nothing."""
    card = api.exercise("0.1").card()
    assert 'href="../exercises/00_start_here.py"' in card.html()
    monkeypatch.setenv("YAIE_EXERCISES_DIR", str(tmp_path))
    card = api.exercise("0.1").card()
    assert f"Edit {tmp_path / '00_start_here.py'}" in " ".join(str(card).split())
    assert str(tmp_path) in card.html()
    assert "href" not in card.html()


def test_solution_is_the_engines_own_source_with_what_often_goes_wrong():
    """A solution that is a copy goes out of date; one without the common mistakes explains half of it."""
    view = api.exercise("0.1").solution()
    source = inspect.getsource(KVCacheManager.blocks_needed)
    assert all(line.strip() in str(view) for line in source.splitlines())
    assert all(mistake.message in str(view) for mistake in find_exercise("0.1").mistakes[: api.SHOWN])
    assert "return -(-num_tokens // self.block_size)" in view.html()


def test_solution_in_cuda_shows_the_comment_above_the_function():
    """In CUDA the contract stands above the function and not in it."""
    assert "__global__ void add_guarded" in str(api.exercise("8.1").solution())
    assert "// " in str(api.exercise("10.12").solution()).partition("template")[0]


def test_every_solution_is_the_same_twice():
    """Notebooks store what it shows and compare: an order that changes would be a failure now and then."""
    for exercise in exercises():
        first, second = (api.exercise(exercise.id).solution()._repr_mimebundle_() for _ in range(2))
        assert first == second
        assert set(first) == {"text/html", "text/plain"}


def test_reset_is_there_for_a_notebook(warm_up):
    """What a message tells to call must exist."""
    warm_up.write("return 1")
    assert yaie.reset("0").tone == "neutral"
    assert warm_up.path.read_text() == warm_up.stub


def test_a_lesson_is_checked_in_a_notebook(warm_up):
    """`yaie check 0` must have a call of the same name: a notebook is told that one."""
    warm_up.write(warm_up.RIGHT)
    for what in ("0", "00", 0, "0.1"):
        views = yaie.check(what)
        assert [view.tone for view in views] == ["good"]
        assert views._repr_mimebundle_()["text/html"] == views[0].html()
        assert repr(views) == str(views[0])
    with pytest.raises(TypeError, match="in quotes"):
        yaie.check(1.2)


def test_buttons_of_a_card_call_what_there_is(warm_up, monkeypatch):
    """A button whose call is misspelt shows an error and does nothing; no test of the page tries each of them."""
    monkeypatch.setattr("builtins.input", lambda question: "no")
    arguments = re.findall(r'run-all-enabled" data-commandlinker-args="(.*?)"', api.exercise("0.1").card().html())
    calls = [json.loads(html.unescape(each))["args"]["text"] for each in arguments]
    shown = []
    for call in calls:
        first, last = call.split("\n")
        names = {}
        exec(first, names)
        shown.append(eval(last, names).title)
    assert [title.split(":")[0].split(" of ")[0] for title in shown] == [
        "0.1 How many blocks?", "Hint 1", "Solution", "Exercise 0.1 stays as it is"
    ]  # fmt: skip


@pytest.mark.parametrize(("answer", "kept"), [("yes ", False), ("no", True), ("", True)])
def test_reset_can_ask_first(answer, kept, warm_up, monkeypatch):
    """A click beside the button that was meant must not take an answer out."""
    monkeypatch.setattr("builtins.input", lambda question: answer)
    warm_up.write("return 1")
    api.exercise("0.1").reset(ask=True)
    assert (warm_up.path.read_text() == warm_up.text("return 1")) is kept
