from __future__ import annotations

import torch

from yaie.course.expect import expect, given
from yaie.course.language import engine_seam

from ..common import REGISTERS, attend, module

TELL = """
__global__ void tell_tiles(int first_row_sees, int kv_len, int first_row, int* tiles) {
    Head<float> head = {};
    head.q_len = 1 << 20;
    head.first_row_sees = first_row_sees;
    head.kv_len = kv_len;
    const Tiles told = tiles_that_matter<64>(head, first_row);
    tiles[0] = told.seen_by_all;
    tiles[1] = told.to_visit;
}

extern "C" int tiles_of_rows(int first_row_sees, int kv_len, int first_row, int* tiles, cudaStream_t stream) {
    tell_tiles<<<1, 1, 0, stream>>>(first_row_sees, kv_len, first_row, tiles);
    return cudaGetLastError();
}
"""


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
    tell = engine_seam.module(f"flash_attention/{REGISTERS}.cu", more=TELL).tiles_of_rows
    for first, last, kv_len in ((129, 192, 256), (193, 256, 256), (70, 70, 70), (37, 100, 100), (256, 256, 256)):
        tiles = torch.full((2,), -1, dtype=torch.int32)
        with given(f"{kv_len} keys, rows of which the first sees {first} keys and the last {last}; tiles of 64"):
            tell(first - 128 if last > first else kv_len, kv_len, 128, tiles)
            expect(tiles[0].item(), first // 64, "seen_by_all", note="A tile that all rows see needs no mask.")
            expect(tiles[1].item(), -(-last // 64), "to_visit")


def _tiles_read(q_len: int, head_dim: int) -> int:
    """Tiles of keys of the last call, from the loads of 16 bytes: a block reads its queries, then keys and values."""
    lines = [
        line
        for line in module(REGISTERS).profile().lines
        if (line.space, line.operation, line.bytes_per_lane) == ("shared", "store", 16)
    ]
    tiles = sum(line.bytes for line in lines) // (64 * head_dim * 4)
    return (tiles - -(-q_len // 64)) // 2
