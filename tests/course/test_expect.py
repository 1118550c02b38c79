"""What checks are written with: the first difference must be the first, and no learner's object may break a report."""

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
    (None, None),
]
DIFFERENT = [
    (1, 2, "1 instead of 2"),
    (True, 1, "True instead of 1"),
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
    assert caught.value.got == "no error, but 5"
    with pytest.raises(Mismatch) as caught:
        expect.expect_error(lambda: [][0], ValueError, "error")
    assert caught.value.got == "IndexError: list index out of range"
    assert isinstance(caught.value.__cause__, IndexError)


def test_shown_survives_any_object():
    """A `__repr__` that raises must not hide the learner's real mistake behind one of the course's."""
    assert shown(Unshowable()) == "<a Unshowable, which cannot be shown: ValueError>"
    assert shown([Unshowable()]).startswith("<a list, which cannot be shown")
    assert shown("x" * 5000).endswith("(5002 characters)")
    assert len(shown("x" * 5000)) < 2100
