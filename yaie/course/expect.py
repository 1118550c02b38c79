"""What checks are written with: say what is tried, then what must come out.

    with given("match([1, 2, 9]) in a tree that holds [1, 2, 3]"):
        expect(tree.match([1, 2, 9]).length, 2, "number of matched tokens")

The first `expect` that does not hold ends the check; with small inputs first, that is the smallest failing input.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from yaie.cuda import KernelError

# The sandbox sets this to a function that leaves the text where it survives a crash of this process.
announce: Callable[[str], None] = lambda text: None  # noqa: E731
# With this, an input that goes wrong does not end its check: this function is told of it, and the next one is tried.
go_on: Callable[[Exception], None] | None = None
current_input: str = ""
tried = 0  # inputs so far; one within another is a part of it
LARGEST = 1e30  # of numbers that are divided
COUNTED = "block byte column head key layer number page request row sequence slot thread token"
ONE = re.compile(rf"(?<![\w.])1 ({COUNTED.replace(' ', '|')})s\b")  # "1 layers"


@dataclass(eq=False)
class Mismatch(AssertionError):
    """A result that differs from what was expected. `got` and `expected` are texts, ready to be shown.

    `headline` stands for "The ... is wrong." where it is not the result that is. `tolerance` is what the check allows.
    `whole` is not shown: it is what `got` was taken from, such as the tensor of a shape.
    """

    what: str
    got: str
    expected: str
    first_difference: str = ""
    note: str = ""
    headline: str = ""
    tolerance: float = 0.0
    whole: str = ""
    given: str = field(default_factory=lambda: current_input)


@contextmanager
def given(text: str) -> Iterator[None]:
    """Name the input of everything inside, as a line of code that a learner could type."""
    global current_input, tried
    outer = current_input
    tried += not outer
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


def expect(got: Any, expected: Any, what: str, *, tolerance: float = 0.0, note: str = "", of: Any = None) -> None:
    """Raise `Mismatch` unless `got` equals `expected` (numbers and tensors within `tolerance`, absolute).

    `of` is what `got` says only one thing about, a shape or a dtype: two answers with the same wrong shape need not be
    wrong for the same reason.
    """
    difference = first_difference(got, expected, tolerance)
    if difference is not None:
        if of is None and "after" not in what:  # else it is no result that is compared
            note = note or relation(got, expected, tolerance)
        raise Mismatch(
            what,
            shown(got),
            shown(expected),
            difference,
            note,
            tolerance=tolerance,
            whole="" if of is None else shown(of),
        )


def relation(got: Any, expected: Any, tolerance: float = 0.0) -> str:
    """What a wrong result has to do with the right one, where it is the same but for order, place, sign or factor;
    else nothing. It is computed from the two, so it is true whatever the answer does."""
    got, expected = plain(got), plain(expected)
    if not (isinstance(got, list | tuple) and isinstance(expected, list | tuple)):
        return ""
    got, expected = list(got), list(expected)
    longer, shorter = (got, expected) if len(got) > len(expected) else (expected, got)
    count = len(longer) - len(shorter)

    def same(one: list, other: list) -> bool:
        return _differ(one, other, tolerance, "") is None

    if count and len(shorter) > 1:
        state = f"{count} too many" if longer is got else f"{count} missing"
        if same(longer[: len(shorter)], shorter):
            return f"All the others are right: there {'is' if count == 1 else 'are'} {state} at the end."
        if same(longer[count:], shorter):
            return f"All the others are right: there {'is' if count == 1 else 'are'} {state} at the beginning."
    ours, theirs = _numbers(got), _numbers(expected)
    if ours is None or theirs is None or len(ours) != len(theirs) or len(ours) < 2:
        return ""
    if same(ours, theirs):
        return "The right numbers in the right order, in another shape."
    if count == 0 and len(got) > 1 and same(got[::-1], expected):
        return "The right values in reverse order."
    if all(isinstance(row, list) for row in got) and same(list(map(list, zip(*got, strict=False))), expected):
        return "Rows and columns are exchanged; the numbers are right."
    if same(sorted(ours), sorted(theirs)):
        return "The right numbers in another order."
    if not all(abs(each) < LARGEST for each in ours + theirs):  # nor NaN
        return ""
    pairs = [(a, b) for a, b in zip(ours, theirs, strict=True) if a or b]
    if len(pairs) > 1 and all(abs(a + b) <= tolerance for a, b in pairs):
        return "Every number has the wrong sign."
    if len({a - b for a, b in zip(ours, theirs, strict=True)}) == 1 and all(type(a) is int for a in ours + theirs):
        off = ours[0] - theirs[0]
        return f"Every number is {abs(off)} too {'large' if off > 0 else 'small'}."
    if len({b for _, b in pairs}) > 1 and all(b for _, b in pairs):
        factor = pairs[0][0] / pairs[0][1]
        if factor and all(math.isclose(a, factor * b, rel_tol=1e-3, abs_tol=tolerance / 10) for a, b in pairs):
            return f"Every number is {factor:.4g} times what it should be."
    return ""


def _numbers(values: list) -> list | None:
    """All numbers in nested lists, in order; None where there is something else."""
    found = []
    for value in values:
        if isinstance(value, list | tuple):
            inner = _numbers(list(value))
            if inner is None:
                return None
            found += inner
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found.append(value)
        else:
            return None
    return found


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


def expect_stream(profile: Any, stream: int) -> None:
    """Raise `Mismatch` where a launch does not join the queue with this handle."""
    if others := [launch for launch in profile.launches if launch.stream != stream]:
        headline = "The result is right, but the kernel does not join the queue `stream`."
        note = "The stream is the fourth value between <<< and >>>. In another one a kernel may start too early."
        raise Mismatch("stream", f"{others[0].kernel} in another queue", "`stream`", "", note, headline)


def expect_launch_error(call: Callable[[], Any]) -> None:
    """Raise `Mismatch` unless a launcher tells of its launch, which a card refuses: `call()` calls it."""
    try:
        call()
    except KernelError as error:
        expect_told(error)
    else:
        raise Mismatch(*NOT_TOLD)


def expect_told(error: KernelError) -> None:
    """Raise `Mismatch` if a launch has failed and the launcher has said that all is well."""
    if any(finding.kind == "error_ignored" for finding in error.findings):
        raise Mismatch(*NOT_TOLD) from error


NOT_TOLD = (
    "code that the launcher returned",
    "0",
    "the error of its launch",
    "",
    "cudaGetLastError() gives the code of the launch before it.",
)


def expect_error(call: Callable[[], Any], error: type[BaseException], what: str, *, note: str = "") -> None:
    """Raise `Mismatch` unless `call()` raises `error`."""
    try:
        result = call()
    except error:
        return
    except (MemoryError, RecursionError):
        raise  # these say more about the answer than that the wrong error was raised
    except Exception as other:
        note = note or f"It says: {shown(other, str)}"
        raise Mismatch(what, type(other).__name__, error.__name__, "another error was raised", note) from other
    note = note or f"The result is {shown(result, limit=200)}."
    raise Mismatch(what, "no error", error.__name__, "no error was raised", note, whole=shown(result))


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
        same = got == expected or (got != got and expected != expected)  # NaN is not itself
        with suppress(OverflowError):  # a whole number too large for a float
            same = same or abs(got - expected) <= tolerance
    else:
        same = type(got) is type(expected) and got == expected
    return None if same else f"{place}{shown(got, limit=200)} instead of {shown(expected, limit=200)}"
