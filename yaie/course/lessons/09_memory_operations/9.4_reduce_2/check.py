from __future__ import annotations

import torch

from yaie.course.expect import Mismatch, expect, given
from yaie.course.language import engine_seam

MOST_READS = 64  # of a warp: two in each of 8 rounds, or one thread's of 32 and of 8, are far fewer


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
        reads = [step for step in profile.trace if (step.space, step.operation) == ("shared", "load")]
        if len(reads) > MOST_READS:
            headline = "The result is right, but the threads do not share the additions."
            got = f"{len(reads)} reads of shared memory, one after the other, in a warp"
            raise Mismatch("reads", got, f"at most {MOST_READS}", "", "256 numbers become 1 in 8 rounds.", headline)
