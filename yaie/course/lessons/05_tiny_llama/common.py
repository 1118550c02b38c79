"""What the checks of lesson 05 share."""

from __future__ import annotations

import math

import torch


def random_numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def norm_by_formula(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """RMSNorm in float64, row by row."""
    rows = []
    for row in x.double().flatten(0, -2).tolist():
        root = math.sqrt(sum(value * value for value in row) / len(row) + eps)
        rows.append([value / root for value in row])
    return torch.tensor(rows, dtype=torch.float64).view(x.shape) * weight.double()


def silu_mul_by_formula(gate_up: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up, number by number."""
    rows = []
    for row in gate_up.flatten(0, -2).tolist():
        half = len(row) // 2
        rows.append([g / (1 + math.exp(-g)) * u for g, u in zip(row[:half], row[half:], strict=True)])
    return torch.tensor(rows).view(*gate_up.shape[:-1], -1)
