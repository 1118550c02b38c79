"""What the checks of lesson 12 share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from yaie.course.expect import expect, given
from yaie.course.language import engine_seam
from yaie.kernels.ops.launching import DTYPES


def decode(
    launcher: str,
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    table: Sequence[int],
    context_len: int,
    *,
    splits: tuple[int, int] | None = None,
) -> torch.Tensor:
    """Attention of one sequence's query over its pages, with scores as they are: 2^score is the weight of a key.

    query `[num_heads, head_dim]`, keys and values `[num_blocks, block_size, num_kv_heads, head_dim]`, float32; `splits`
    is `(num_splits, split_tokens)` for rung 4.
    """
    num_heads, head_dim = query.shape
    _, block_size, num_kv_heads, _ = keys.shape
    out = torch.full((1, num_heads, head_dim), math.nan)
    tables = torch.tensor([table], dtype=torch.int32)
    lens = torch.tensor([context_len], dtype=torch.int32)
    tensors = [query[None].contiguous(), keys, values, tables, lens]
    scale = math.log(2)  # the launcher turns e^x into 2^x; this takes that back
    sizes = [1, 1, num_heads, num_kv_heads, head_dim, block_size, len(table)]
    module = engine_seam.module(f"paged_attention/{launcher}.cu")
    shape = module.structs["PagedShape"](*sizes, *(splits or (1, 1)), scale, DTYPES[torch.float32])
    run = getattr(module, launcher)
    if splits is None:
        run(*tensors, out, shape)
    else:
        parts = torch.full((1, num_heads, splits[0], head_dim), math.nan)
        run(*tensors, None, out, parts, parts[..., 0].clone(), shape)
    return out[0]


def one_hot(num_slots: int) -> torch.Tensor:
    """Values `[num_slots, num_slots]` that leave their mark: slot i has a 1 at place i. The mean of some of them shows
    which they were, and how much each counted."""
    return torch.eye(num_slots)


def expect_weights(launcher: str, scores: list[float], splits: tuple[int, int] | None) -> None:
    """Key i gives the score i, value i has its 1 at place i: the output is the softmax."""
    num_slots = 8
    keys = torch.zeros(1, num_slots, 1, num_slots)
    keys[0, : len(scores), 0, 0] = torch.tensor(scores, dtype=torch.float32)
    query = torch.zeros(1, num_slots)
    query[0, 0] = 1
    values = one_hot(num_slots).reshape(keys.shape)
    expected = torch.zeros(num_slots)
    expected[: len(scores)] = (torch.tensor(scores, dtype=torch.float64) * math.log(2)).softmax(0).float()
    where = f", in {splits[0]} splits of {splits[1]}" if splits else ""
    with given(f"keys whose scores are {scores}, each with the weight 2^score{where}"):
        out = decode(launcher, query, keys, values, [0], len(scores), splits=splits)[0]
        expect(out[: len(scores)], expected[: len(scores)], "softmax (the weight of each key)", tolerance=1e-5)
