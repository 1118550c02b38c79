"""What the checks of lesson 08 share."""

from __future__ import annotations

import torch

from yaie.course.expect import expect, named

FILE = "warmup/vector_add.cu"


def make_numbers(n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two vectors whose sums tell where each was taken from, and a result filled with a number that no sum gives."""
    a = torch.arange(n, dtype=torch.float32)
    return a, 1000 * (a + 1), torch.full((n,), -1.0)


def expect_sums(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> None:
    """Expect c = a + b."""
    wrong = [
        (a - b, "That is a - b."),
        (b - a, "That is b - a."),
        (a * b, "That is a times b."),
        (a, "b was not added to a."),
        (b, "a was not added to b."),
        (a + a, "a was added to itself."),
        (b + b, "b was added to itself."),
        (a + b - 1, "What c held before, -1, was added, too: `=` instead of `+=`."),
    ]
    expect(c, a + b, "result c", note=named(c, [(each.tolist(), message) for each, message in wrong]))
