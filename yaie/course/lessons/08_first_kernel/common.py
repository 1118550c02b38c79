"""What the checks of lesson 08 share."""

from __future__ import annotations

import torch

FILE = "warmup/vector_add.cu"


def make_numbers(n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two vectors whose sums tell where each was taken from, and a result filled with a number that no sum gives."""
    a = torch.arange(n, dtype=torch.float32)
    return a, 1000 * (a + 1), torch.full((n,), -1.0)
