from __future__ import annotations

import torch

from yaie.course.expect import expect, given

from ..common import REGISTERS, attend, module


def check() -> None:
    cases = [
        (64, 64, True, 1),
        (128, 128, True, 3),
        (2, 70, True, 2),
        (65, 129, True, 5),
        (70, 5, True, 1),
        (70, 130, False, 6),
        (64, 100, True, 2),
    ]
    for q_len, kv_len, causal, visits in cases:
        query, key, value = torch.zeros(q_len, 1, 8), torch.zeros(kv_len, 1, 8), torch.zeros(kv_len, 1, 8)
        value[:, 0, 0] = torch.arange(kv_len)
        kind = "causal" if causal else "not causal"
        with given(f"{kind}, {q_len} queries and {kv_len} keys of zeros, tiles of 64; value j is j"):
            out = attend(REGISTERS, query, key, value, causal=causal)
            seen = [max(min(i + 1 + kv_len - q_len, kv_len), 0) if causal else kv_len for i in range(q_len)]
            wanted = torch.tensor([max(n - 1, 0) / 2 for n in seen])
            expect(out[:, 0, 0], wanted, "output (the mean of the visible values)", tolerance=1e-3)
            expect(_tiles_read(q_len, 8), visits, "number of tiles of keys that all thread blocks visit together")


def _tiles_read(q_len: int, head_dim: int) -> int:
    """Tiles of keys of the last call, from the loads of 16 bytes: a block reads its queries, then keys and values."""
    lines = [
        line
        for line in module(REGISTERS).profile().lines
        if (line.space, line.operation, line.bytes_per_lane) == ("shared", "store", 16)
    ]
    tiles = sum(line.bytes for line in lines) // (64 * head_dim * 4)
    return (tiles - -(-q_len // 64)) // 2
