"""Predictions: what a learner who guessed is told, and what one who did not."""

import numpy as np
import pytest

import yaie


@pytest.mark.parametrize(
    ("guess", "actual", "said"),
    [
        (40, 12, "You said 40, it was 12: 3.3 times too high."),
        (12, 40, "You said 12, it was 40: 3.3 times too low."),
        (10, 5, "You said 10, it was 5: 2 times too high."),
        (9, 10, "You said 9, it was 10: 10% too low."),
        (1000.4, 1000, "You said 1,000, it was 1,000: less than 1% too high."),
        (999.6, 100.4, "You said 1,000, it was 100: 10 times too high."),
        (0.25, 0.25, "You said 0.25, it was 0.25: exactly right."),
        (0, 5, "You said 0, it was 5: 5 too low."),
        (-10, -4, "You said -10, it was -4: 6 too low."),
        (np.float32(1.5), np.int64(3_000_000), "You said 1.5, it was 3,000,000: 2,000,000 times too low."),
        (1e299, 1e-299, "times too high."),
    ],
)
def test_how_far_off_it_was(guess, actual, said, capsys):
    yaie.predict("ms a step", guess).compare(actual)
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("nothing", [(), (...,), (None,)])
def test_without_a_prediction_the_notebook_goes_on(nothing, capsys):
    """Notebooks are shipped, run and tested with no number written."""
    yaie.predict("ms a step", *nothing).compare(12.345)
    asked, answered = capsys.readouterr().out.splitlines()
    assert asked == "Nothing predicted yet. Write a number instead of ... and run this cell again."
    assert answered == "It was 12.3. You have not predicted it yet."


@pytest.mark.parametrize("number", ["40", "40 tokens", True, [40], 4j, float("nan"), float("inf"), 10**400])
def test_what_is_no_number_is_refused(number):
    with pytest.raises(ValueError, match=r"a prediction (is a number|must be finite).* got"):
        yaie.predict("ms a step", number)
    with pytest.raises(ValueError, match=r"the actual number (is a number|must be finite).* got"):
        yaie.predict("ms a step", 4).compare(number)


@pytest.mark.parametrize("what", ["", None, 40])
def test_what_is_predicted_must_be_said(what):
    """`predict(40)` would take the number for the text, and ask for a number again."""
    with pytest.raises(ValueError, match="say what is predicted"):
        yaie.predict(what)
