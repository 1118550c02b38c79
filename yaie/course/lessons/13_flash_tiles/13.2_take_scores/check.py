from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from yaie.course.expect import expect, given

from ..common import TILES, attend, keys_of, marks, unit_query


def check() -> None:
    first = [0.0] * 32
    cases = (
        [0.0],
        [1.0, 0.0],
        [*first, 1.0],
        [*first, 0.0, -1.0],
        [3.0, *first, 1.0, 2.0],
        [*first, 2.0, *first[1:], 3.0, 1.0],
        [200.0, 201.0],
        [100.0, *first[1:], -100.0],
        [-300.0, *first],
    )
    for scores in cases:
        head_dim = -(-len(scores) // 8) * 8
        text = _short(scores)
        with given(f"a row with the scores {text} (a score of s weighs 2^s), in tiles of 32 keys"):
            out = attend(TILES, unit_query(1, head_dim), keys_of(scores, head_dim), marks(len(scores), head_dim))
            wanted = torch.softmax(torch.tensor(scores, dtype=torch.float64) * math.log(2), 0).float()
            expect(out[0, 0, : len(scores)], wanted, "weight of each key", tolerance=1e-5)
    for q_len, kv_len in ((2, 2), (3, 2), (40, 8)):
        with given(f"causal, {q_len} queries and {kv_len} keys of zeros: row i sees {kv_len - q_len + 1} + i keys"):
            zeros = torch.zeros(q_len, 1, 8)
            out = attend(TILES, zeros, torch.zeros(kv_len, 1, 8), marks(kv_len, 8), causal=True)
            wanted = _causal_means(q_len, kv_len)
            expect(out[:, 0, :kv_len], wanted, "weight of each key, row by row", tolerance=1e-5)


def _short(scores: Sequence[float]) -> str:
    """The scores, with repetitions counted: "32 times 0, 1"."""
    parts: list[tuple[float, int]] = []
    for score in scores:
        if parts and parts[-1][0] == score:
            parts[-1] = (score, parts[-1][1] + 1)
        else:
            parts.append((score, 1))
    return ", ".join(f"{count} times {score:g}" if count > 1 else f"{score:g}" for score, count in parts)


def _causal_means(q_len: int, kv_len: int) -> torch.Tensor:
    """Weights `[q_len, kv_len]` where all visible keys weigh the same."""
    rows = torch.arange(q_len)[:, None] + kv_len - q_len
    visible = torch.arange(kv_len)[None] <= rows
    return visible / visible.sum(1, keepdim=True).clamp(min=1)
