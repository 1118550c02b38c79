"""What is said of a wrong result: where it is wrong, what stands there, which inputs go wrong."""

import math

import pytest
import torch

from yaie.course.differences import Call, contrast, part_of_product, pattern

RIGHT = 1 + torch.rand(2, 32, generator=torch.Generator().manual_seed(0))


def changed(where, value):
    got = RIGHT.clone()
    got[where] = value(got[where]) if callable(value) else value
    return got


EVEN = torch.arange(32) % 2 == 0


@pytest.mark.parametrize(
    ("got", "said"),
    [
        (changed((0, 3), -5.0), "The other 63 numbers are right."),
        (changed((1, 31), -5.0), "Only the last of 64 numbers is wrong."),
        (RIGHT.clone(), ""),
        (changed((slice(1, 2), slice(None)), math.nan), "the row is 1, the last. The wrong numbers are NaN"),
        (changed((slice(None), slice(20, 32)), 0.0), "Wrong exactly where the column is 20 or more. The wrong"),
        (changed((slice(None), slice(0, 4)), 0.0), "the column is 3 or less. The wrong numbers are 0."),
        (
            changed((slice(None), EVEN), lambda x: x * math.log(2)),
            "the column is even. The wrong numbers are 0.6931 times",
        ),
        (changed((slice(None), EVEN), lambda x: x * math.log(2)), "(ln 2: is a base 2 or e?)"),
        (changed((slice(None), torch.arange(32) % 16 >= 8), 0.0), "the column is in the upper half of each 16."),
        (changed((slice(None), torch.arange(32) % 4 != 0), 0.0), "the column is no multiple of 4."),
        (changed((0,), lambda x: x + 7.5), "the row is 0. The wrong numbers are 7.5 too large."),
        (changed((0,), lambda x: -x), "The sign is wrong."),
        (changed((0,), lambda x: 1 / x), "The wrong numbers are the inverses of what they should be."),
        (RIGHT * torch.tensor([[2.0], [3.0]]), "Each row is right but for a factor of its own."),
        (torch.tensor([[5.0], [6.0]]).expand(2, 32), "Each row holds one number throughout."),
        (changed((0, slice(0, 31)), RIGHT[0, 1:]), "The result[0][0] holds what belongs to [0][1]."),
        (changed((1, slice(3, 5)), 0.0), "the column is 3 or 4."),
        (changed((0, slice(0, 3)), 1e-44), "come of memory that was never set"),
    ],
)
def test_pattern_of_a_wrong_result(got, said):
    """Would catch a fact that is none, or that goes unsaid."""
    found = pattern(got, RIGHT, 1e-6)
    assert said in found if said else not found


def test_some_numbers_are_found_elsewhere_by_chance():
    few = changed((0, slice(0, 8)), torch.cat([RIGHT[1, :5], RIGHT[1, 5:8] + 0.123]))
    assert "belongs to" not in pattern(few, RIGHT, 1e-6)


def after(out, start=-1.0, **inputs):
    """What is said of `out` after a call that got it full of `start`."""
    got = torch.full_like(out, start)
    call = Call.of("launcher", {"n": 3, **inputs, "out": got})
    got.copy_(out)
    return lambda wanted, **options: pattern(got, wanted, call=call, **options)


def test_pattern_knows_what_the_call_was_given():
    """Would catch numbers that were never written, or that come from elsewhere, told as anything else."""
    x, wanted = torch.arange(10.0, 42.0), torch.arange(10.0, 26.0).repeat(2).view(2, 16) * 1
    wanted[1] = torch.arange(26.0, 42.0)
    half = wanted.clone()
    half[:, 8:] = -1.0
    said = after(half, x=x)(wanted, axes="token element")
    assert said == (
        "Wrong exactly where the element is 8 or more. "
        "The wrong numbers are still what was there before the call, as if never written."
    )
    assert "What was there before the call has been added." in after(wanted * 2 + 0.5, start=0.5)(wanted * 2)
    assert "out[0][0] holds `x[1]`; `x[0]` belongs there." in after(wanted.roll(-1, 1), x=x)(wanted)
    nothing = after(torch.full((2, 16), math.nan), start=math.nan)(wanted)
    assert "as all were before the call: never written, or added to" in nothing
    kept = torch.full((2, 16), -1.0)
    assert "was to stay, and something was written over it" in after(wanted * 2.5)(kept)
    ids = torch.tensor([10, 11])  # whole numbers are no source of floats
    assert "`ids" not in after(wanted.roll(-1, 1), ids=ids)(wanted)
    assert "are infinite, as some of `x` are." in after(-RIGHT / 0, x=-RIGHT / 0)(RIGHT)
    assert "or something was divided by 0." in after(-RIGHT / 0, x=RIGHT)(RIGHT)


def test_a_result_is_not_taken_for_an_argument_of_the_same_numbers():
    """A function in Python returns new tensors. And a token is not where a float comes from."""
    tokens, got = torch.tensor([4, 5, 6]), torch.tensor([4, 5, 6])
    called = Call.of("function", {"tokens": tokens}, launched=False)
    assert "before the call" not in pattern(got, torch.tensor([5, 6, 4]), call=called)
    assert "`tokens[0]`; `tokens[1]` belongs there" in pattern(got, torch.tensor([5, 6, 4]), call=called)
    floats = [got.tolist(), [4.0, 5.0, 6.0]]
    assert ["tokens" in pattern(each, [5, 6, 4], call=called) for each in floats] == [True, False]


def test_what_was_rounded_is_not_multiplied():
    assert pattern(RIGHT.half().float(), RIGHT, tolerance=1e-6).endswith("The wrong numbers are right to 3 digits.")
    assert pattern(RIGHT.double() + 3e-7 * RIGHT, RIGHT).endswith("The wrong numbers are right to 6 digits.")
    assert "1.001 times" in pattern(RIGHT * 1024 / 1023, RIGHT, tolerance=1e-6)


def test_contrast_knows_of_axes():
    """Would catch silence about a function that works for rows of a matrix alone, the likeliest of all such slips."""
    two, three = (Call.of("norm", {"x": torch.ones(shape)}, launched=False).numbers for shape in ((2, 3), (2, 3, 4)))
    assert contrast([two] * 4, [three]) == "where `x.dim()` is 3 or more"


def test_contrast_names_one_rule_or_none():
    """Would catch a rule that holds by chance, such as of two parameters that grow together."""
    inputs = [{"layers": layers, "n": n} for layers, n in ((1, 64), (2, 96), (3, 33), (1, 100), (2, 32))]
    assert contrast([inputs[0], inputs[3]], [inputs[1], inputs[2], inputs[4]]) == (
        "where `layers` is 2 or more, not where it is 1"
    )
    multiples = [each for each in inputs if each["n"] % 32 == 0]
    others = [each for each in inputs if each["n"] % 32]
    assert contrast(multiples, others) == "where `n` is no multiple of 32"
    assert contrast(inputs, []) == contrast([], inputs) == contrast(inputs[:1], inputs[1:]) == ""
    grow = [{"a": k, "b": 10 * k} for k in (1, 2, 3, 4)]
    assert contrast(grow[:2], grow[2:]) == ""
    two = [{"n": n, "size": size} for n, size in ((8, 4), (9, 3), (10, 5), (4, 3), (7, 2), (5, 3), (9, 6))]
    assert contrast(two[3:], two[:3]) == "where `n` is a multiple of `size`"
    assert contrast(two[:3], two[3:]) == "where `n` is no multiple of `size`"
    assert contrast(two[5:], two[:3]) == ""  # of five much is true by chance
    apart = [{"stride": stride, "size": 4} for stride in (4, 8, 4, 12)]
    assert contrast(apart[::2], apart[1::2]) == "where `size` and `stride` differ"


def test_part_of_a_product():
    """Would catch a part named although others fit as well, as with a matrix that is nearly empty."""
    left, right = torch.randn(4, 16), torch.randn(3, 16)
    assert "Only the first half of the 16 columns" in part_of_product(left[:, :8] @ right[:, :8].T, left, right, 1e-4)
    assert "added, not multiplied" in part_of_product(left.sum(1)[:, None] + right.sum(1), left, right, 1e-4)
    sparse = torch.zeros(4, 16)
    sparse[1, 2] = 1.0
    assert part_of_product(torch.zeros(4, 3), sparse, right) == ""
