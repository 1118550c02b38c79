"""What checks are written with: say what is tried, then what must come out.

    with given("match([1, 2, 9]) in a tree that holds [1, 2, 3]"):
        expect(tree.match([1, 2, 9]).length, 2, "number of matched tokens")

The first `expect` that does not hold ends the check; with small inputs first, that is the smallest failing input. When
a cause is looked for, all inputs are tried instead, and of each all results.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

from yaie.course.differences import Call, pattern
from yaie.cuda import KernelError

# The sandbox sets this to a function that leaves the text where it survives a crash of this process.
announce: Callable[[str], None] = lambda text: None  # noqa: E731
# With this, an input that goes wrong does not end its check: this function is told of all that went wrong with it, and
# the next one is tried.
go_on: Callable[[list[Exception]], None] | None = None
all_results = False  # with `go_on`: of an input that goes wrong the other results are compared, too
wrong: list[Exception] = []  # what went wrong with this input so far
current_input: str = ""
tried = 0  # inputs so far; one within another is a part of it
inputs: list[dict[str, Any]] = []  # what was tried, and the numbers that the last launcher was called with
last_call = Call()
COUNTED = "block byte column head key layer number page request row sequence slot thread token"
MOST_WRONG = 8  # results of one input: what comes later says nothing new
ONE = re.compile(rf"(?<![\w.])1 ({COUNTED.replace(' ', '|')})s\b")  # "1 layers"


@dataclass(eq=False)
class Mismatch(AssertionError):
    """A result that differs from what was expected. `got` and `expected` are texts, ready to be shown.

    `headline` stands for "The ... is wrong." where it is not the result that is. `tolerance` is what the check allows.
    `whole` is not shown: it is what `got` was taken from, such as the tensor of a shape. `pattern` is where it is
    wrong, and what stands there.
    """

    what: str
    got: str
    expected: str
    first_difference: str = ""
    note: str = ""
    headline: str = ""
    tolerance: float = 0.0
    whole: str = ""
    pattern: str = ""
    given: str = field(default_factory=lambda: current_input)


@contextmanager
def given(text: str) -> Iterator[None]:
    """Name the input of everything inside, as a line of code that a learner could type."""
    global current_input, tried, wrong
    outer, outer_wrong = current_input, wrong
    wrong = []
    current_input = ONE.sub(r"1 \1", text)
    if not outer:
        tried += 1
        inputs.append({"given": current_input, "numbers": {}})
    announce(current_input)
    try:
        yield
    except Exception as error:
        if go_on is None:
            raise  # the input stays readable for the report
        wrong.append(error)
    if wrong:
        go_on(wrong)
    current_input, wrong = outer, outer_wrong
    announce(outer)


def saw_call(name: str, arguments: dict[str, Any], launched: bool = True) -> None:
    """Remember what a launcher or a function is called with."""
    global last_call
    last_call = Call.of(name, arguments, launched)
    if inputs:
        inputs[-1]["numbers"].update(last_call.numbers)


def expect(
    got: Any, expected: Any, what: str, *, tolerance: float = 0.0, note: str = "", of: Any = None, axes: str = ""
) -> None:
    """Raise `Mismatch` unless `got` equals `expected` (numbers and tensors within `tolerance`, absolute).

    `of` is what `got` says only one thing about, a shape or a dtype: two answers with the same wrong shape need not be
    wrong for the same reason. `axes` says what the indices of a result count: "layer block number".
    """
    difference = first_difference(got, expected, tolerance)
    if difference is not None:
        later = bool(wrong)  # only the first is shown
        related = "" if later or of is not None or "after" in what else relation(got, expected, tolerance)
        if what.startswith("shape of") and not later:
            related = relation_of_shapes(got, expected)
        is_result = of is None and not what.startswith("argument")
        found = "" if later or not is_result else pattern(got, expected, tolerance, axes, last_call)
        _tell(
            Mismatch(
                what,
                shown(got),
                shown(expected),
                difference,
                note or related,
                tolerance=tolerance,
                whole="" if of is None else shown(of),
                pattern=found,
            )
        )


def _tell(mismatch: Mismatch) -> None:
    """Raise it, or remember it where the other results of this input are to be compared as well."""
    if go_on is None or not all_results or not current_input or len(wrong) == MOST_WRONG:
        raise mismatch
    wrong.append(mismatch)


def relation(got: Any, expected: Any, tolerance: float = 0.0) -> str:
    """What a wrong result has to do with the right one, where its numbers are the same in another order or place; else
    nothing. (`differences.pattern` knows what became of the numbers.) It is true whatever the answer does."""
    got, expected = plain(got), plain(expected)
    if not (isinstance(got, list | tuple) and isinstance(expected, list | tuple)):
        return ""
    got, expected = list(got), list(expected)
    longer, shorter = (got, expected) if len(got) > len(expected) else (expected, got)
    count = len(longer) - len(shorter)

    def same(one: list, other: list) -> bool:
        return _differ(one, other, tolerance, "") is None

    for place, rest in (("end", longer[: len(shorter)]), ("beginning", longer[count:])):
        if count and len(shorter) > 1 and same(rest, shorter):
            state = f"{'is' if count == 1 else 'are'} {count} {'too many' if longer is got else 'missing'}"
            return f"All the others are right: there {state} at the {place}."
    ours, theirs = list(_leaves(got)), list(_leaves(expected))
    kinds = {*map(type, ours), *map(type, theirs)}
    if len(ours) != len(theirs) or len(ours) < 2 or not all(map(_is_of_numbers, kinds)):
        return ""
    if same(ours, theirs):
        return "The right numbers in the right order, in another shape."
    if count == 0 and len(got) > 1 and same(got[::-1], expected):
        return "The right values in reverse order."
    if all(isinstance(row, list) for row in got) and same(list(map(list, zip(*got, strict=False))), expected):
        return "Rows and columns are exchanged; the numbers are right."
    if same(sorted(ours), sorted(theirs)):
        return "The right numbers in another order."
    return ""


def relation_of_shapes(got: list[int], expected: list[int]) -> str:
    """What a wrong shape has to do with the right one, where it has the same sizes; else nothing."""
    if sorted(got) == sorted(expected):
        return "The sizes are right, and the axes are in another order."
    if [size for size in got if size != 1] == [size for size in expected if size != 1]:
        count = abs(len(got) - len(expected))
        return f"Apart from {'an axis' if count == 1 else f'{count} axes'} of length 1 the shape is right."
    return ""


def _leaves(value: Iterable[Any]) -> Iterator[Any]:
    """What stands in nested lists, in order."""
    for each in value:
        if isinstance(each, list | tuple):
            yield from _leaves(each)
        else:
            yield each


def _is_number(value: Any) -> bool:
    return _is_of_numbers(type(value))


def _is_of_numbers(kind: type) -> bool:
    return issubclass(kind, int | float) and kind is not bool


def named(got: Any, wrong: Iterable[tuple[Any, str]]) -> str:
    """What is said of one of some wrong results that `got` is, for the note of `expect`; nothing of others.

    A result tells a mistake where the input was chosen so that no other gives it. Where several give it, none is told.
    """
    told = {message for result, message in wrong if first_difference(plain(got), result, 1e-3) is None}
    return told.pop() if len(told) == 1 else ""


def _beside_the_point(headline: str, got: str, expected: str, note: str) -> NoReturn:
    """Raise `Mismatch` for a right result that comes about in another way than is asked for."""
    raise Mismatch(headline, got, expected, note=note, headline=f"The result is right, but {headline}.")


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
        _beside_the_point("bytes are moved for nothing", got, expected, note)


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
        got, expected = f"a {operation} of {narrowest} bytes", f"{operation}s of {width} bytes"
        _beside_the_point(f"elements of {width} bytes are {done} in smaller pieces", got, expected, note)
    if lanes > elements:
        got, expected = f"{lanes} {operation}s", f"{elements} {operation}s, one of each element"
        _beside_the_point(f"elements are {done} more than once", got, expected, note)
    if requests and lanes < 16 * requests:
        got, expected = f"{lanes / requests:.1f} threads of a warp {operation} at a time", "up to 32 neighbours"
        _beside_the_point("most threads of a warp have nothing to do", got, expected, note)


def expect_share(profile: Any, times: int, *, note: str, operation: str = "store") -> None:
    """Raise `Mismatch` unless the traced warp stores to global memory (or loads) so many times: as often as any other,
    where they share the work."""
    steps = [step for step in profile.trace if (step.space, step.operation) == ("global", operation)]
    if len(steps) != times:
        got = f"{len(steps)} {operation}s by warp {profile.trace_warp} of block {profile.trace_block}"
        _beside_the_point("the warps do not share the work", got, f"{times}, as by every warp", note)


def expect_no_bank_conflicts(profile: Any, *, note: str = "") -> None:
    """Raise `Mismatch` where an access to shared memory has a bank conflict."""
    worst = max(profile.lines, key=lambda line: line.bank_conflicts, default=None)
    if worst is not None and worst.bank_conflicts > 0:
        where = f"({worst.operation} in line {worst.line})"
        got = f"conflicts: {worst.bank_conflicts}, up to {worst.most_ways} ways {where}"
        _beside_the_point("threads queue up at the banks of shared memory", got, "no bank conflict in any line", note)


def expect_stream(profile: Any, stream: int) -> None:
    """Raise `Mismatch` where a launch does not join the queue with this handle."""
    if others := [launch for launch in profile.launches if launch.stream != stream]:
        note = "The stream is the fourth value between <<< and >>>. In another one a kernel may start too early."
        got, headline = f"{others[0].kernel} in another queue", "the kernel does not join the queue `stream`"
        _beside_the_point(headline, got, "`stream`", note)


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


NOTE = "cudaGetLastError() gives the code of the launch before it."
NOT_TOLD = "code that the launcher returned", "0", "the error of its launch", "", NOTE


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
    note = f"{note} The result is {shown(result, limit=200)}.".lstrip()
    _tell(Mismatch(what, "no error", error.__name__, "no error was raised", note, whole=shown(result)))


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
            if type(a) is type(b) and type(a) in (int, float) and abs(a - b) <= tolerance:
                continue  # most of a tensor, without words for its place
            if found := _differ(a, b, tolerance, f"{where}[{index}]"):
                return found
        if len(got) != len(expected):
            return f"{place}the length is {len(got)}, not {len(expected)}"
        return None
    if isinstance(expected, dict) and isinstance(got, dict):
        for key in expected | got:
            if key not in got or key not in expected:
                return f"{place}the key {key!r} {'should not be there' if key in got else 'is missing'}"
            if found := _differ(got[key], expected[key], tolerance, f"{where}[{key!r}]"):
                return found
        return None
    if _is_number(got) and _is_number(expected):
        same = got == expected or (got != got and expected != expected)  # NaN is not itself
        with suppress(OverflowError):  # a whole number too large for a float
            same = same or abs(got - expected) <= tolerance
    else:
        same = type(got) is type(expected) and got == expected
    return None if same else f"{place}{shown(got, limit=200)} instead of {shown(expected, limit=200)}"
