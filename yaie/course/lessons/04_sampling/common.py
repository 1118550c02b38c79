"""What the checks of lesson 04 share."""

from __future__ import annotations

import math

import torch

from yaie.course.expect import expect

NO = -math.inf


def random_logits(num_seqs: int, vocab_size: int) -> torch.Tensor:
    """Normal logits in which some are equal (rounded to quarters), so that ties occur in large rows, too."""
    generator = torch.Generator().manual_seed(1000 * num_seqs + vocab_size)
    return (torch.randn(num_seqs, vocab_size, generator=generator) * 8).round() / 4


def shown_rows(logits: torch.Tensor) -> str:
    """Logits as a line of code."""
    if logits.numel() <= 24:
        return f"torch.tensor({[[round(x, 4) for x in row] for row in logits.tolist()]})".replace("-inf", "-math.inf")
    return f"random logits {list(logits.shape)}"


def kind(got: object) -> str:
    """The name of a result's type; that of every tensor is "Tensor"."""
    return "Tensor" if isinstance(got, torch.Tensor) else type(got).__name__


def expect_new(got: object, logits: torch.Tensor) -> None:
    """The result is a tensor of its own, in the dtype of `logits`."""
    expect(kind(got), "Tensor", "type of the result")
    expect(str(got.dtype), str(logits.dtype), "dtype of the result")
    whose = "`logits` itself" if got.data_ptr() == logits.data_ptr() else "a new tensor"
    expect(whose, "a new tensor", "tensor that was returned")


def unchanged(logits: torch.Tensor, before: torch.Tensor) -> None:
    expect(logits, before, "content of `logits` after the call (they belong to the caller and must stay as they were)")


def ids_kept(logits: torch.Tensor) -> list[list[int]]:
    return [[i for i, x in enumerate(row) if x != NO] for row in logits.tolist()]


def by_logit(row: list[float]) -> list[int]:
    """Token ids from the largest logit to the smallest, lower ids first among equals."""
    return sorted(range(len(row)), key=lambda i: (-row[i], i))
