"""Predict, then run: a number that a learner commits to before the notebook shows it.

share = yaie.predict("percent of the tokens that are new", ...)     # the learner writes a number instead of ...
share.compare(8)                                                    # You said 40, it was 8: 5 times too high.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from types import EllipsisType

LARGEST = 1e300  # finite and a float; NaN is not below it either
AS_PERCENT = 2  # up to twice or half, a difference is easier to read in percent


@dataclass(frozen=True)
class Prediction:
    """What was predicted; `number` is None as long as nothing was."""

    what: str
    number: float | None

    def compare(self, actual: Real) -> None:
        """Say how far the prediction was from the actual number."""
        actual = _checked(actual, "the actual number")
        if self.number is None:
            print(f"It was {_shown(actual)}. You have not predicted it yet.")
        else:
            print(f"You said {_shown(self.number)}, it was {_shown(actual)}: {_distance(self.number, actual)}.")


def predict(what: str, number: Real | EllipsisType | None = ...) -> Prediction:
    """Note a number before it is measured: `what` it is of, with its unit. `...` and None stand for no number yet."""
    if not isinstance(what, str) or not what:
        raise ValueError(f"say what is predicted, such as 'tokens per second', got {what!r}")
    if number is None or number is ...:
        print("Nothing predicted yet. Write a number instead of ... and run this cell again.")
        return Prediction(what, None)
    prediction = Prediction(what, _checked(number, "a prediction"))
    print(f"Your prediction, {what}: {_shown(prediction.number)}")
    return prediction


def _checked(number: Real, name: str) -> float:
    if isinstance(number, bool) or not isinstance(number, Real):
        raise ValueError(f"{name} is a number, such as 40 or 2.5, got {number!r}")
    number = number if isinstance(number, int) else float(number)
    if not -LARGEST < number < LARGEST:
        raise ValueError(f"{name} must be finite, got {number}")
    return number


def _shown(number: float) -> str:
    """Three digits, or as many as stand before the point."""
    return f"{number:,.0f}" if number % 1 == 0 or abs(number) >= 100 else f"{number:.3g}"


def _distance(guess: float, actual: float) -> str:
    if guess == actual:
        return "exactly right"
    side = "too high" if guess > actual else "too low"
    if guess <= 0 or actual <= 0:  # across zero a ratio says nothing
        return f"{_shown(abs(guess - actual))} {side}"
    ratio = guess / actual
    if 1 / AS_PERCENT < ratio < AS_PERCENT:
        return f"{round(100 * abs(ratio - 1)) or 'less than 1'}% {side}"
    return f"{_shown(round(max(ratio, 1 / ratio), 1))} times {side}"
