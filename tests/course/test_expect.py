"""What checks are written with: the first difference must be the first, and no learner's object may break a report."""

from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch

from yaie.course import expect
from yaie.course.expect import Mismatch, first_difference, shown

SAME = [
    (1, 1),
    (2.0, 2),
    ([1, (2, 3)], (1, [2, 3])),
    (torch.tensor([1, 2]), [1, 2]),
    (torch.tensor(3), 3),
    ({"a": torch.zeros(2)}, {"a": [0.0, 0.0]}),
    (float("nan"), float("nan")),
    (float("inf"), float("inf")),
    ([float("nan"), float("inf")], [float("nan"), float("inf")]),
    (None, None),
]
DIFFERENT = [
    (1, 2, "1 instead of 2"),
    (True, 1, "True instead of 1"),
    ([1, True], [1, 1], "at index [1]: True instead of 1"),
    (None, 0, "None instead of 0"),
    ("1", 1, "'1' instead of 1"),
    ([1, 2, 4], [1, 2, 3], "at index [2]: 4 instead of 3"),
    ([1, 2], [1, 2, 3], "the length is 2, not 3"),
    ([[1], [2, 2]], [[1], [2]], "at index [1]: the length is 2, not 1"),
    ({"a": 1}, {"a": 1, "b": 2}, "the key 'b' is missing"),
    ({"a": 1, "c": 2}, {"a": 1}, "the key 'c' should not be there"),
    ({"a": [0, 1]}, {"a": [0, 0]}, "at index ['a'][1]: 1 instead of 0"),
    (torch.zeros(2, 3), torch.zeros(3, 2), "the shape is [2, 3], not [3, 2]"),
    (float("nan"), 1.0, "nan instead of 1.0"),
    (float("inf"), float("-inf"), "inf instead of -inf"),
    ([0.0, float("nan")], [0.0, 1.0], "at index [1]: nan instead of 1.0"),
]


class Unshowable:
    def __repr__(self):
        raise ValueError

    __str__ = __repr__


@pytest.mark.parametrize(("got", "expected"), SAME)
def test_same(got, expected):
    """A check that refuses a list for a tuple, or nan for nan, refuses right answers."""
    assert first_difference(got, expected) is None


@pytest.mark.parametrize(("got", "expected", "text"), DIFFERENT)
def test_first_difference(got, expected, text):
    """A difference that is missed lets a wrong answer pass; one in the wrong place misleads."""
    assert first_difference(got, expected) == text


def test_tolerance_is_absolute_and_only_for_numbers():
    """A tolerance that leaks into lengths or flags would pass wrong answers."""
    assert first_difference([1.0, 2.0], [1.0, 2.05], tolerance=0.1) is None
    assert first_difference([1.0, 2.0], [1.0, 2.05], tolerance=0.01) is not None
    assert first_difference([1.0], [1.0, 1.0], tolerance=5) is not None
    assert first_difference(True, 1, tolerance=5) is not None


def test_mismatch_carries_the_input_it_happened_on():
    """After nested inputs the outer one must be named again, or the report shows a wrong input."""
    with expect.given("outer"):
        with expect.given("inner"):
            expect.expect(1, 1, "number")
        with pytest.raises(Mismatch) as caught:
            expect.expect(int, str, "type")
    assert (caught.value.given, caught.value.got, caught.value.expected) == ("outer", "int", "str")


def test_expect_error():
    """A wrong kind of error must be a mismatch that names it, not a crash of the check."""
    expect.expect_error(lambda: [][0], IndexError, "error")
    with pytest.raises(Mismatch) as caught:
        expect.expect_error(lambda: 5, ValueError, "error")
    assert (caught.value.got, caught.value.note) == ("no error", "The result is 5.")
    with pytest.raises(Mismatch) as caught:
        expect.expect_error(lambda: 5, ValueError, "error", note="It must refuse.")
    assert caught.value.note == "It must refuse. The result is 5."
    with pytest.raises(Mismatch) as caught:
        expect.expect_error(lambda: [][0], ValueError, "error")
    assert (caught.value.got, caught.value.note) == ("IndexError", "It says: list index out of range")
    assert isinstance(caught.value.__cause__, IndexError)


def test_shown_survives_any_object():
    """A `__repr__` that raises must not hide the learner's real mistake behind one of the course's."""
    assert shown(Unshowable()) == "<a Unshowable, which cannot be shown: ValueError>"
    assert shown([Unshowable()]).startswith("<a list, which cannot be shown")
    assert shown("x" * 5000).endswith("(5002 characters)")
    assert len(shown("x" * 5000)) < 2100


def test_a_limit_is_allowed_itself():
    """A threshold that leaves out its own value refuses the very answer that the statement names."""
    assert first_difference(1.5, 1.0, tolerance=0.5) is None
    assert first_difference(1.5, 1.0, tolerance=0.49) == "1.5 instead of 1.0"
    assert expect.clipped("abc", 3) == "abc"
    assert expect.clipped("abcd", 3) == "abc... (4 characters)"


def counted(*lines):
    """A profile with these lines: space, sectors per request, bank conflicts."""
    names = ("space", "sectors_per_request", "bank_conflicts")
    named = [SimpleNamespace(line=number, operation="load", most_ways=2) for number, _ in enumerate(lines, start=7)]
    for line, values in zip(named, lines, strict=True):
        vars(line).update(zip(names, values, strict=True))
    return SimpleNamespace(lines=named)


def test_what_a_kernel_may_move():
    """A line that moves as much as allowed is right, one that moves more is named, and shared memory has no sectors."""
    for right in (counted(), counted(("global", 4, 0), ("shared", 32, 0))):
        expect.expect_sectors(right, 4)
        expect.expect_no_bank_conflicts(right)
    with pytest.raises(Mismatch) as caught:
        expect.expect_sectors(counted(("global", 4, 0), ("global", 32, 0), ("global", 4.1, 0)), 4)
    assert caught.value.got == "32.0 sectors per request (load in line 8)"
    assert caught.value.expected == "at most 4 sectors per request in every line"
    assert caught.value.note.startswith("Neighbouring threads")
    with pytest.raises(Mismatch) as caught:
        expect.expect_no_bank_conflicts(counted(("shared", 0, 1), ("shared", 0, 3), ("shared", 0, 0)))
    assert caught.value.got == "conflicts: 3, up to 2 ways (load in line 8)"


def test_what_is_tried_is_announced_and_taken_back(monkeypatch):
    """The text that survives a crash must be of what ran when it came."""
    said = []
    monkeypatch.setattr(expect, "announce", said.append)
    with expect.given("outer"), expect.given("inner"):
        assert expect.current_input == "inner"
    assert said == ["outer", "inner", "outer", ""]
    assert expect.current_input == ""


@pytest.mark.parametrize("error", [MemoryError, RecursionError, KeyboardInterrupt])
def test_what_says_more_than_a_wrong_kind_of_error(error):
    """A hog, an endless recursion and an interrupt must not be told as "another error was raised"."""

    def call():
        raise error

    with pytest.raises(error):
        expect.expect_error(call, ValueError, "error")


class Pair(NamedTuple):
    a: int
    b: object


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([1, 2], "[1, 2]"),
        ((1, [2]), "(1, [2])"),
        (Pair(1, torch.tensor([2])), "(1, [2])"),
        ({"a": torch.tensor(2)}, "{'a': 2}"),
        (torch.zeros(0), "[]"),
        (torch.Tensor, "Tensor"),
        ("x", "'x'"),
    ],
)
def test_shown_as_a_learner_would_write_it(value, text):
    """A list that is shown as a tuple, or a tensor with its wrapping, is not what was expected or came."""
    assert shown(value) == text


@pytest.mark.parametrize(
    ("got", "right", "said"),
    [
        ([3, 2, 1], [1, 2, 3], "The right values in reverse order."),
        ([2, 1, 3], [1, 2, 3], "The right numbers in another order."),
        ([[1, 3], [2, 4]], [[1, 2], [3, 4]], "Rows and columns are exchanged; the numbers are right."),
        ([[1, 2], [3, 4]], [1, 2, 3, 4], "The right numbers in the right order, in another shape."),
        ([1, 2], [1, 2, 3], "All the others are right: there is 1 missing at the end."),
        ([0, 1, 2], [1, 2], "All the others are right: there is 1 too many at the beginning."),
        ([2.0, 4.0, 6.1], [1.0, 2.0, 3.0], ""),
        ([5], [3], ""),
        ([0.0, 0.0], [1.0, 2.0], ""),
        ([float("nan"), 1.0], [1.0, 1.0], ""),
        ([10**400, 1], [1, 10**401], ""),
        (["b", "a"], ["a", "b"], ""),
        ("ba", "ab", ""),
    ],
)
def test_what_a_wrong_result_has_to_do_with_the_right_one(got, right, said):
    """It is shown as a fact, so it must be one."""
    assert expect.relation(got, right, 1e-6) == said
    with pytest.raises(Mismatch) as failed:
        expect.expect(got, right, "result", tolerance=1e-6)
    assert failed.value.note == said


def test_a_relation_is_of_results_only():
    """That a dtype or an argument has other values than before misleads."""
    for what, of in (("sizes of the result", torch.zeros(2, 3)), ("argument `x` after the call", None)):
        with pytest.raises(Mismatch) as failed:
            expect.expect([2, 3], [3, 2], what, of=of)
        assert not failed.value.note


@pytest.mark.parametrize(
    ("got", "right", "said"),
    [
        ([2, 3], [3, 2], "The sizes are right, and the axes are in another order."),
        ([1, 1, 2, 3], [2, 3], "Apart from 2 axes of length 1 the shape is right."),
        ([2], [2, 1], "Apart from an axis of length 1 the shape is right."),
        ([6], [2, 3], ""),
    ],
)
def test_what_a_wrong_shape_has_to_do_with_the_right_one(got, right, said):
    """Would catch a shape that is told as if its sizes were results."""
    with pytest.raises(Mismatch) as failed:
        expect.expect(got, right, "shape of the result", of=torch.zeros(got))
    assert failed.value.note == said
