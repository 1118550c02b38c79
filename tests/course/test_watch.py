"""`yaie watch`: what is checked after a save, and what is not."""

import os
import threading

import pytest

from yaie.course import watch

AFTER = "\n\ndef up(a, b):\n    return -(-a // b)\n"


@pytest.fixture
def titles(warm_up, monkeypatch):
    """What is shown where the file is saved with one content after the other; None is a file that has gone."""

    def saves(contents):
        for content in contents:
            warm_up.path.unlink(missing_ok=True)
            if content is not None:
                warm_up.path.write_text(content)
            yield {warm_up.path.name}

    def titles(*contents):
        monkeypatch.setattr(watch, "_saves", lambda: saves(contents))
        return [panel.title for panel in watch.watch()]

    return titles


NOTHING = "00_start_here.py was saved; no exercise in it has changed"
PASSED, FAILED = "0.1 How many blocks?: passed", "0.1 How many blocks?: failed"


def test_changed_function_is_checked_once(warm_up, titles):
    """A save that changes nothing should not cost a check, and one that does must not be missed."""
    right, wrong = warm_up.text(warm_up.RIGHT), warm_up.text("return 1")
    assert titles(wrong, wrong, right, "# note\n" + right) == [FAILED, NOTHING, PASSED, NOTHING]


def test_helper_counts_as_a_change(warm_up, titles):
    """A mistake made or fixed in a helper changes the outcome without a change of the function."""
    right = warm_up.text("return up(num_tokens, self.block_size)", AFTER)
    assert titles(right, right.replace("-(-a // b)", "a // b"), right) == [PASSED, FAILED, PASSED]


def test_file_that_is_away_for_a_moment(warm_up, titles):
    """Editors that save by renaming take the file away first; that is no news. A new file is."""
    assert titles(None, warm_up.text(warm_up.RIGHT), None) == [PASSED]


def test_syntax_error_is_shown_at_each_save(warm_up, titles):
    """The learner saved to see whether the error is gone; silence would read as success."""
    broken = warm_up.text("return (1")
    found = titles(broken, broken, warm_up.text(warm_up.RIGHT))
    assert found == ["This file cannot be used yet"] * 2 + [PASSED]


def test_renamed_function_is_shown(warm_up, titles):
    """A problem with one function is that exercise's outcome."""
    text = warm_up.text(warm_up.RIGHT)
    assert titles(text.replace("def blocks_", "def block_"), text) == [FAILED, PASSED]


def test_answer_taken_out_again_is_shown(warm_up, titles):
    """After a reset elsewhere the terminal must not keep the old state."""
    assert titles(warm_up.text(warm_up.RIGHT), warm_up.stub)[1] == "0.1 How many blocks?: not attempted"


def test_real_saves_are_seen(warm_up, exercises):
    """Saving in place, saving by rename, and other files in the folder, through the operating system's own notices."""
    beside = exercises / "scratch.py"
    first = threading.Event()  # a busy machine may take long until it watches, and until it has checked

    def save():
        while not first.wait(1):
            beside.write_text("x")
            warm_up.write(warm_up.RIGHT)
        new = exercises / "00_start_here.py~new"
        new.write_text(warm_up.text("return 1"))
        os.replace(new, warm_up.path)

    watching = watch.watch()
    saver = threading.Thread(target=save)
    saver.start()
    try:
        assert next(watching).title == PASSED
    finally:
        first.set()
    assert next(title for panel in watching if (title := panel.title) != NOTHING) == FAILED
    saver.join()
    watching.close()
