"""What checks are written with: say what is tried, then what must come out.

    with given("match([1, 2, 9]) in a tree that holds [1, 2, 3]"):
        expect(tree.match([1, 2, 9]).length, 2, "number of matched tokens")

The first `expect` that does not hold ends the check; with small inputs first, that is the smallest failing input.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

# The sandbox sets this to a function that leaves the text where it survives a crash of this process.
announce: Callable[[str], None] = lambda text: None  # noqa: E731
# With this, an input that goes wrong does not end its check: this function is told of it, and the next one is tried.
go_on: Callable[[Exception], None] | None = None
current_input: str = ""
COUNTED = "block byte column head key layer number page request row sequence slot thread token"
ONE = re.compile(rf"(?<![\w.])1 ({COUNTED.replace(' ', '|')})s\b")  # "1 layers"


@dataclass(eq=False)
class Mismatch(AssertionError):
    """A result that differs from what was expected. `got` and `expected` are texts, ready to be shown.

    `headline` stands for "The ... is wrong." where it is not the result that is.
    """

    what: str
    got: str
    expected: str
    first_difference: str = ""
    note: str = ""
    headline: str = ""
    given: str = field(default_factory=lambda: current_input)


@contextmanager
def given(text: str) -> Iterator[None]:
    """Name the input of everything inside, as a line of code that a learner could type."""
    global current_input
    outer = current_input
    current_input = ONE.sub(r"1 \1", text)
    announce(current_input)
    try:
        yield
    except Exception as error:
        if go_on is None:
            raise  # the input stays readable for the report
        go_on(error)
    current_input = outer
    announce(outer)


def expect(got: Any, expected: Any, what: str, *, tolerance: float = 0.0, note: str = "") -> None:
    """Raise `Mismatch` unless `got` equals `expected` (numbers and tensors within `tolerance`, absolute)."""
    difference = first_difference(got, expected, tolerance)
    if difference is not None:
        raise Mismatch(what, shown(got), shown(expected), difference, note)


def named(got: Any, wrong: Iterable[tuple[Any, str]]) -> str:
    """What is said of the first of some wrong results that `got` is, for the note of `expect`; nothing of others.

    A result tells a mistake where the input was chosen so that no other gives it.
    """
    return next((message for result, message in wrong if first_difference(plain(got), result, 1e-3) is None), "")


def expect_sectors(profile: Any, most: float, *, note: str = "") -> None:
    """Raise `Mismatch` where a source line moves more than `most` sectors of 32 bytes per request of a warp.

    `profile` is what `module.profile()` of `yaie.cuda` gives. 4 is what a warp needs for 4-byte elements in a row, 16
    for 16-byte ones.
    """
    lines = [line for line in profile.lines if line.space == "global"]
    worst = max(lines, key=lambda line: line.sectors_per_request, default=None)
    if worst is not None and worst.sectors_per_request > most:
        got = f"{worst.sectors_per_request:.1f} sectors per request ({worst.operation} in line {worst.line})"
        note = note or "Neighbouring threads must touch neighbouring elements at the same moment."
        expected = f"at most {most} sectors per request in every line"
        raise Mismatch("sectors", got, expected, "", note, "The result is right, but bytes are moved for nothing.")


def expect_lanes(profile: Any, elements: int, *, note: str, operation: str = "store", width: int = 0) -> None:
    """Raise `Mismatch` where the threads of a warp do not work together, or go to one of the `elements` more than once.

    Looks at the stores to global memory, or at the loads from there. With `width`, the bytes of an element, smaller
    accesses are told from repeated ones.
    """
    lines = [line for line in profile.lines if (line.space, line.operation) == ("global", operation)]
    lanes, requests = sum(line.lanes for line in lines), sum(line.requests for line in lines)
    done = {"store": "stored", "load": "loaded"}[operation]
    narrowest = min((line.bytes_per_lane for line in lines), default=width)
    if narrowest < width:
        headline = f"The result is right, but elements of {width} bytes are {done} in smaller pieces."
        got, expected = f"a {operation} of {narrowest} bytes", f"{operation}s of {width} bytes"
        raise Mismatch("pieces", got, expected, "", note, headline)
    if lanes > elements:
        headline = f"The result is right, but elements are {done} more than once."
        got, expected = f"{lanes} {operation}s", f"{elements} {operation}s, one of each element"
        raise Mismatch(f"{operation}s", got, expected, "", note, headline)
    if requests and lanes < 16 * requests:
        headline = "The result is right, but most threads of a warp have nothing to do."
        got, expected = f"{lanes / requests:.1f} threads of a warp {operation} at a time", "up to 32, side by side"
        raise Mismatch("lanes", got, expected, "", note, headline)


def expect_share(profile: Any, times: int, *, note: str, operation: str = "store") -> None:
    """Raise `Mismatch` unless the traced warp stores to global memory (or loads) so many times: as often as any other,
    where they share the work."""
    steps = [step for step in profile.trace if (step.space, step.operation) == ("global", operation)]
    if len(steps) != times:
        headline = "The result is right, but the warps do not share the work."
        got = f"{len(steps)} {operation}s by warp {profile.trace_warp} of block {profile.trace_block}"
        raise Mismatch("share", got, f"{times}, as by every warp", "", note, headline)


def expect_no_bank_conflicts(profile: Any, *, note: str = "") -> None:
    """Raise `Mismatch` where an access to shared memory has a bank conflict."""
    worst = max(profile.lines, key=lambda line: line.bank_conflicts, default=None)
    if worst is not None and worst.bank_conflicts > 0:
        got = (
            f"conflicts: {worst.bank_conflicts}, up to {worst.most_ways} ways ({worst.operation} in line {worst.line})"
        )
        headline = "The result is right, but threads queue up at the banks of shared memory."
        raise Mismatch("bank conflicts", got, "no bank conflict in any line", "", note, headline)


def expect_error(call: Callable[[], Any], error: type[BaseException], what: str, *, note: str = "") -> None:
    """Raise `Mismatch` unless `call()` raises `error`."""
    try:
        result = call()
    except error:
        return
    except (MemoryError, RecursionError):
        raise  # these say more about the answer than that the wrong error was raised
    except Exception as other:
        text = f"{type(other).__name__}: {shown(other, str)}"
        raise Mismatch(what, text, error.__name__, "another error was raised", note) from other
    raise Mismatch(what, f"no error, but {shown(result)}", error.__name__, "no error was raised", note)


def shown(value: Any, form: Callable[[Any], str] = repr, limit: int = 2000) -> str:
    """`value` as text, cut where it is long. A learner's own `__repr__` or `__str__` may fail; then that is said."""
    try:
        text = value.__name__ if isinstance(value, type) else form(plain(value))
    except BaseException as error:  # SystemExit, too
        return f"<a {type(value).__name__}, which cannot be shown: {type(error).__name__}>"
    return clipped(text, limit)


def clipped(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


def plain(value: Any) -> Any:
    """`value` with tensors and arrays turned into lists, so that it can be shown and compared anywhere."""
    if hasattr(value, "tolist") and not isinstance(value, type):
        return value.tolist()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(plain, value)) if type(value) in (list, tuple) else tuple(map(plain, value))
    return value


def first_difference(got: Any, expected: Any, tolerance: float = 0.0) -> str | None:
    """Where `got` first departs from `expected`, in words; None where it does not."""
    got_shape, expected_shape = getattr(got, "shape", None), getattr(expected, "shape", None)
    if got_shape is not None and expected_shape is not None and tuple(got_shape) != tuple(expected_shape):
        return f"the shape is {list(got_shape)}, not {list(expected_shape)}"
    return _differ(plain(got), plain(expected), tolerance, "")


def _differ(got: Any, expected: Any, tolerance: float, where: str) -> str | None:
    place = f"at index {where}: " if where else ""
    if isinstance(expected, list | tuple) and isinstance(got, list | tuple):
        for index, (a, b) in enumerate(zip(got, expected, strict=False)):
            if found := _differ(a, b, tolerance, f"{where}[{index}]"):
                return found
        if len(got) != len(expected):
            return f"{place}the length is {len(got)}, not {len(expected)}"
        return None
    if isinstance(expected, dict) and isinstance(got, dict):
        for key in expected:
            if key not in got:
                return f"{place}the key {key!r} is missing"
            if found := _differ(got[key], expected[key], tolerance, f"{where}[{key!r}]"):
                return found
        extra = [key for key in got if key not in expected]
        return f"{place}the key {extra[0]!r} should not be there" if extra else None
    if all(isinstance(x, int | float) and not isinstance(x, bool) for x in (got, expected)):
        same = got == expected or abs(got - expected) <= tolerance or (math.isnan(got) and math.isnan(expected))
    else:
        same = type(got) is type(expected) and got == expected
    return None if same else f"{place}{shown(got, limit=200)} instead of {shown(expected, limit=200)}"
