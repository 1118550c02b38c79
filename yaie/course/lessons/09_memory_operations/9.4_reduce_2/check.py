from __future__ import annotations

import torch

from yaie.course.expect import Mismatch, expect, given
from yaie.course.language import engine_seam

MOST_READS = 128  # of a block's warps: trees of different shapes need up to 95, one thread alone 256


def check() -> None:
    module = engine_seam.module("memory/reduce.cu")
    for n in (256, 3, 1, 300, 1024):
        x = torch.arange(n, dtype=torch.float32) + 1
        total = torch.full((1,), -1.0)
        with given(f"reduce_2_shared of x = [1, 2, 3, ...], n = {n}"):
            module.reduce_2_shared(x, total, n)
            expect(total, x.sum().reshape(1), "total")
    with given("profile of reduce_2_shared, n = 1024"):
        profile = module.profile("reduce_2_shared", torch.ones(1024), torch.zeros(1), 1024)
        atomics = sum(line.lanes for line in profile.lines if line.operation == "atomic" and line.space == "global")
        expect(atomics, 4, "number of atomicAdd on total", note="One for each of the 4 blocks.")
        lines = [line for line in profile.lines if (line.space, line.operation) == ("shared", "load")]
        reads = sum(line.requests for line in lines) // 4
        if reads > MOST_READS:
            headline = "The result is right, but the threads do not share the additions."
            got = f"{reads} reads of shared memory by the warps of a block"
            raise Mismatch("reads", got, f"at most {MOST_READS}", "", "256 numbers become 1 in 8 rounds.", headline)
