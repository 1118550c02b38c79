"""The small kernels of csrc/primitives against torch: on a GPU, or else in the emulator's check mode."""

import math

import pytest
import torch

import yaie.cuda
from yaie.kernels.ops import CSRC

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def module(name):
    return yaie.cuda.load(CSRC / "primitives" / f"{name}.cu")


def softmax(x):
    y = torch.full_like(x, math.nan)
    module("softmax_rows").softmax_rows(x, y, *x.shape)
    return y


@pytest.mark.parametrize(("num_rows", "size"), [(0, 3), (3, 0), (1, 1), (2, 255), (3, 256), (2, 257), (1, 12032)])
def test_softmax_rows(num_rows, size):
    """Numbers around 500, whose exp no float holds, and one that has no weight."""
    x = 500 + 10 * torch.randn(num_rows, size, device=DEVICE)
    if num_rows and size > 1:
        x[0, 1] = -math.inf
    assert torch.allclose(softmax(x), x.double().softmax(dim=1).float(), rtol=0, atol=2e-6)


def test_a_row_that_is_too_long_is_refused():
    """Would catch a launch that fails without a word: the result would be what the memory held before."""
    with pytest.raises(yaie.cuda.KernelError) as caught:
        softmax(torch.zeros(1, 12033, device=DEVICE))
    assert {finding.kind for finding in caught.value.findings} <= {"bad_launch", "launch_error"}


@pytest.mark.parametrize("n", [0, 1, 127, 128, 129, 1000])
def test_interleave(n):
    """A missing guard writes behind the end, a wrong grid leaves elements out."""
    a, b, c = (torch.randn(size, device=DEVICE) for size in (n, n, 2 * n))
    module("interleave").interleave(a, b, c, n)
    assert torch.equal(c, torch.stack([a, b], 1).flatten())


@pytest.mark.parametrize("depth", [0, 16, 48])
def test_tile_product(depth):
    """Whole numbers are exact in float16 and in the sums: one element in another lane's place is a wrong number."""
    a, b = (torch.randint(-8, 9, (rows, depth), device=DEVICE).half() for rows in (16, 8))
    c = torch.full((16, 8), math.nan, device=DEVICE)
    module("tile_product").tile_product(a, b, c, depth)
    assert torch.equal(c, a.float() @ b.float().T)
