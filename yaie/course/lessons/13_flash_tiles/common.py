"""What the checks of lesson 13 share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch

import yaie.cuda
from yaie.course.language import engine_seam
from yaie.kernels.ops.launching import DTYPES

TILES, REGISTERS = "flash_attention_2_tiles", "flash_attention_3_registers"


def module(rung: str, more: Path | None = None) -> yaie.cuda.Module:
    """The launchers of a rung in the emulator's check mode, and those of an exercise's `check.cu`."""
    return engine_seam.module(f"flash_attention/{rung}.cu", more=more)


def attend(
    rung: str,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    causal: bool = False,
    lengths: Sequence[tuple[int, int]] | None = None,
    more: Path | None = None,
) -> torch.Tensor:
    """Attention with the scale ln 2, so that a score of s weighs 2^s.

    query `[total_q, num_heads, head_dim]`, key and value `[total_k, num_kv_heads, head_dim]`; `lengths` are the
    (q_len, kv_len) of each sequence, one sequence if left out.
    """
    lengths = lengths or [(len(query), len(key))]
    cu_q, cu_k = (torch.tensor([0, *column]).cumsum(0, dtype=torch.int32) for column in zip(*lengths, strict=True))
    out = torch.full_like(query, math.nan)
    sizes = [len(lengths), max(q for q, _ in lengths), query.shape[1], key.shape[1], query.shape[2]]
    launch = getattr(module(rung, more), rung)
    launch(query, key, value, out, cu_q, cu_k, *sizes, math.log(2), int(causal), DTYPES[query.dtype])
    return out


def marks(kv_len: int, head_dim: int) -> torch.Tensor:
    """Values `[kv_len, 1, head_dim]` that show who was counted: key j has a 1 in column j. An output is then the list
    of the weights."""
    return torch.eye(head_dim)[:kv_len, None].contiguous()


def keys_of(scores: Sequence[float], head_dim: int) -> torch.Tensor:
    """Keys `[len(scores), 1, head_dim]` whose product with a query of a 1 in column 0 is the score."""
    keys = torch.zeros(len(scores), 1, head_dim)
    keys[:, 0, 0] = torch.tensor(scores, dtype=torch.float32)
    return keys


def unit_query(q_len: int, head_dim: int) -> torch.Tensor:
    query = torch.zeros(q_len, 1, head_dim)
    query[..., 0] = 1.0
    return query
