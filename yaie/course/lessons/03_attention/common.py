"""What the checks of lesson 03 share."""

from __future__ import annotations

import torch

from yaie.course.expect import expect


def expect_tensor(got: torch.Tensor, expected: torch.Tensor, what: str, dtype: torch.dtype) -> None:
    """Compare shape, dtype and numbers, these rounded to 3 decimals: short enough to be checked by hand."""
    expect(kind(got), "Tensor", f"type of {what}")
    expect(list(got.shape), list(expected.shape), f"shape of {what}", of=got)
    rounded = torch.round(got.detach().double(), decimals=3) + 0.0  # no -0.0
    largest = expected.double().abs().nan_to_num(posinf=0).max().item()
    precision = 1e-7 * largest  # what float32 can tell apart
    expect(rounded, torch.round(expected.double(), decimals=3), what, tolerance=0.0015 + precision)
    expect(str(got.dtype), str(dtype), f"dtype of {what}", of=got)


def kind(got: object) -> str:
    """The name of a result's type; that of every tensor is "Tensor"."""
    return "Tensor" if isinstance(got, torch.Tensor) else type(got).__name__


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    """Random float32 numbers between -2 and 2 in steps of a half, so that an input can be copied."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-4, 5, shape, generator=generator).float() / 2
