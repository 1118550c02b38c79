"""What the checks of lesson 08 share."""

from __future__ import annotations

import torch

from yaie.course.expect import expect

FILE = "warmup/vector_add.cu"


def make_numbers(n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two vectors whose sums tell where each was taken from, and a result filled with a number that no sum gives."""
    a = torch.arange(n, dtype=torch.float32)
    return a, 1000 * (a + 1), torch.full((n,), -1.0)


def expect_sums(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> None:
    """Expect c = a + b, and say which elements no thread has written."""
    wanted, missing = a + b, (c == -1).nonzero().flatten().tolist()
    note = ""
    if missing:
        note = f"c[{missing[0]}] was never written, nor were {len(missing) - 1} others: which thread should have?"
        note = note if len(missing) > 1 else f"c[{missing[0]}] was never written: which thread should have?"
    elif torch.equal(c, wanted - 1):
        note = "What c held before, -1, was added, too: `=` instead of `+=`."
    expect(c, wanted, "result c", note=note)
