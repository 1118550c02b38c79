from __future__ import annotations

import torch

from yaie.course.expect import Mismatch, expect, given
from yaie.course.language import engine_seam
from yaie.cuda import KernelError

from ...lesson_13.common import attend
from ..common import RUNG, halves

# Reads tile 0 or tile 1 where `next_tile` has come to tile 0.
READ = """
__global__ void read_tile(const float4* rows, int tile, float4* out) {
    __shared__ float4 stages[2][THREADS];
    auto start_tile = [&](int n) {
        yaie::cp_async_16(&stages[n % 2][threadIdx.x], &rows[n * THREADS + threadIdx.x], 16);
    };
    start_tile(0);
    yaie::cp_async_commit();
    next_tile(0, 2, start_tile);
    out[threadIdx.x] = stages[tile][threadIdx.x];
}

extern "C" int read_after_next_tile(const float4* rows, int tile, float4* out, cudaStream_t stream) {
    read_tile<<<1, THREADS, 0, stream>>>(rows, tile, out);
    return cudaGetLastError();
}
"""


def check() -> None:
    for kv_len in (64, 65, 128, 200, 330):
        with given(f"1 query and {kv_len} keys of zeros: {-(-kv_len // 64)} tiles of 64 keys; the value of key j is j"):
            value = torch.arange(kv_len, dtype=torch.float32)[:, None, None].repeat(1, 1, 64)
            out = attend(RUNG, *halves(torch.zeros(1, 1, 64), torch.zeros(kv_len, 1, 64), value))
            expect(out[0, 0, 0].float().item(), (kv_len - 1) / 2, "output (the mean of the values)", tolerance=0.2)
    read = engine_seam.module(f"flash_attention/{RUNG}.cu", more=READ).read_after_next_tile
    rows, out = torch.zeros(2, 128, 4), torch.zeros(128, 4)
    with given("next_tile(0, 2, start_tile): what the emulator says of a thread that then reads its part of tile 1"):
        try:
            read(rows, 1, out)
        except KernelError as error:
            if error.findings[0].kind == "cp_async_not_waited":
                return
            raise
        headline = "The result is right, but the next tile's copy is not in flight when `next_tile` returns."
        note = "A copy that is waited for right after it was started overlaps with nothing."
        raise Mismatch("copy", "tile 1 may be read already", "the copy of tile 1 is in flight", "", note, headline)
