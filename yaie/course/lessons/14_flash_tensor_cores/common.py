"""What the checks of lesson 14 share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

RUNG = "flash_attention_4_tensor_cores"

TOLERANCE = 1e-3  # of weights in float16, relative to 1


def halves(*tensors: torch.Tensor) -> list[torch.Tensor]:
    return [tensor.half() for tensor in tensors]


def weights_of(scores: Sequence[float], head_dim: int = 64) -> torch.Tensor:
    """The shares 2^score / sum, filled up with zeros to head_dim."""
    wanted = torch.zeros(head_dim)
    wanted[: len(scores)] = torch.softmax(torch.tensor(scores, dtype=torch.float64) * math.log(2), 0).float()
    return wanted
