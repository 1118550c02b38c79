"""Whether two answers go wrong alike, so that one cause explains both."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import partial
from typing import Any

Report = dict[str, Any]  # what the sandbox says of a run; a failure is what the worker says of one input of it

# Python cannot go on, for any of a hundred reasons.
SAYING_LITTLE = ("AttributeError", "NameError", "TypeError", "UnboundLocalError")
ROUNDING = 1e-5  # what float32 may differ by in numbers around 1
NUMBER = re.compile(r"-?\d+(?:\.\d+(?:e[-+]\d+)?|e[-+]\d+)")  # no whole number, which may be an index
PLACE = re.compile(r"[\w.]+:\d+|line \d+")  # in a file
QUOTED = re.compile(r"'[^']*'")  # such as an id, which anyone may choose
CUT = re.compile(r"[^,]*\.\.\. \(\d+ characters\)$")


def alike(one: Report, other: Report) -> bool:
    """Whether two failures can have the same cause: the same inputs went wrong, each in the same way."""
    ended = all(one[key] == other[key] for key in ("end", "code"))
    ours, theirs = ((each["result"] or {}).get("failures", [each.get("current_input")]) for each in (one, other))
    return ended and all_alike(ours, theirs)


def all_alike(ours: Sequence[Any], theirs: Sequence[Any]) -> bool:
    return len(ours) == len(theirs) and all(map(same_manner, ours, theirs))


def explained(mistakes: Sequence[Report], learners: Sequence[Report], *, exactly: bool = False) -> list[int]:
    """The numbers of the failures of an answer that a mistake explains: all on which it shows itself, if the answer
    does the same there; none if it does anything else on one of them. `exactly`: errors say the same, too, unless the
    answer raises its own. Those of `SAYING_LITTLE` always do."""
    found = []
    for mistake in mistakes:
        for number, failure in enumerate(learners):
            own = failure["kind"] != "error" or failure.get("code", "").startswith("raise ")
            little = exactly or failure["error"] in SAYING_LITTLE
            said = own or not little or mistake.get("message") == failure.get("message")
            if number not in found and said and same_manner(mistake, failure):
                found.append(number)
                break
        else:
            return []
    return found


def same_manner(one: Report | str, other: Report | str) -> bool:
    """Whether one input went wrong alike in two runs. A finding may be met by another thread, and what was computed in
    another order differs in the last digits: results are the same within what the check allows."""
    if isinstance(one, str) or isinstance(other, str):
        return one == other
    what = "unnamed" if one["kind"] == "finding" else "what"  # kernels and shared arrays have the names that one likes
    if any(one.get(key) != other.get(key) for key in ("kind", "given", "error", "by_raise", what)):
        return False
    if one["kind"] == "finding":
        same = all(one.get(key) == other.get(key) for key in ("array", "element"))
        return same and _nowhere(one) == _nowhere(other)
    tolerance = one.get("tolerance", 0.0)
    wholes = [_without_ids(each.get("whole", "")) for each in (one, other)]
    if not same_text(*wholes, ROUNDING):
        return False
    if any(_in_its_last_digits(each, tolerance) for each in (one, other)):
        tolerance = None
    if _differ_out_of_sight(one, other, tolerance):
        return False
    if not all(same_text(one.get(key), other.get(key), tolerance) for key in ("got", "first_difference")):
        return False
    later = [each["later"] for each in (one, other) if "later" in each]  # a run up to the first failure has none
    return len(later) < 2 or later[0] == later[1]


def _in_its_last_digits(wrong: Report, tolerance: float) -> bool:
    """Whether a result is wrong there alone. Where its text is cut before the first wrong number, that number tells."""
    got, _, right = wrong.get("first_difference", "").rpartition(": ")[2].partition(" instead of ")
    return same_text(wrong.get("got"), wrong.get("expected"), tolerance) and same_text(got, right, tolerance)


def _differ_out_of_sight(one: Report, other: Report, tolerance: float | None) -> bool:
    """Whether two results begin alike, with nothing wrong, and go on differently where they are not shown."""
    same_beginning = len({CUT.sub("", each.get("got", "")) for each in (one, other)}) == 1
    return (
        same_beginning and one.get("got") != other.get("got") and same_text(one["got"], one.get("expected"), tolerance)
    )


def _without_ids(whole: str) -> str:
    """A result without what is quoted inside it. A text by itself is the result."""
    return whole if QUOTED.fullmatch(whole) else QUOTED.sub("''", whole)


def _nowhere(finding: Report) -> str:
    """The computed cause of a finding, without the lines of code that it names."""
    return PLACE.sub("", finding.get("computed", ""))


def same_text(one: str | None, other: str | None, tolerance: float | None) -> bool:
    """Whether two results as text are the same, their numbers within `tolerance` or what float32 rounds; with None
    to the last digit."""
    if one == other or tolerance is None or not one or not other:
        return one == other
    cut = bool(CUT.search(one) and CUT.search(other))
    (words, ours), (others, theirs) = (_split(text) for text in (one, other))
    if cut:
        count = min(len(ours), len(theirs))  # longer numbers leave room for fewer of them
        words, others = words[:count], others[:count]
    near = partial(math.isclose, rel_tol=ROUNDING, abs_tol=tolerance)
    numbers = zip(map(float, ours), map(float, theirs), strict=not cut)
    return words == others and all(near(a, b) for a, b in numbers)


def _split(text: str) -> tuple[list[str], list[str]]:
    """What stands between the numbers with a point in a text, and these; where it was cut, without the last one."""
    text = CUT.sub("", text)
    return NUMBER.split(text), NUMBER.findall(text)
