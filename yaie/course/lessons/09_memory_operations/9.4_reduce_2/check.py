from __future__ import annotations

import torch

from yaie.course.expect import Mismatch, expect, expect_lanes, expect_share, given, named
from yaie.course.language import engine_seam

MOST_READS = 128  # of a block's warps: trees of different shapes need up to 95, one thread alone 256


def check() -> None:
    module = engine_seam.module("memory/reduce.cu")
    for n in (256, 3, 1, 300, 1024):
        x = torch.arange(n, dtype=torch.float32) + 1
        total = torch.full((1,), -1.0)
        with given(f"reduce_2_shared of x = [1, 2, 3, ...], n = {n}"):
            module.reduce_2_shared(x, total, n)
            expect(total, x.sum().reshape(1), "total", note=named(total, _wrong_sums(x)))
    with given("profile of reduce_2_shared, n = 1024"):
        profile = module.profile("reduce_2_shared", torch.ones(1024), torch.zeros(1), 1024)
        atomics = sum(line.lanes for line in profile.lines if line.operation == "atomic")
        note = "One for each of the 4 blocks. Atomics on one float wait for each other, in shared memory, too."
        expect(atomics, 4, "number of atomicAdd", note=note)
        own = "Thread i of the grid reads element i."
        expect_lanes(profile, 1024, note=own, operation="load")
        expect_share(profile, 1, note=own, operation="load")
    for warp in range(8):
        with given(f"profile of reduce_2_shared, n = 256, warp {warp}"):
            profile = module.profile("reduce_2_shared", torch.ones(256), torch.zeros(1), 256, warp=warp)
            loads = [step for step in profile.trace if (step.space, step.operation) == ("shared", "load")]
            reads = sum(step.bytes_per_lane // 4 for step in loads)
            if reads > MOST_READS:
                headline = "The result is right, but the threads do not share the additions."
                got = f"{reads} floats read from shared memory, one at a time, in warp {warp}"
                raise Mismatch("reads", got, f"at most {MOST_READS}", "", "256 numbers become 1 in 8 rounds.", headline)


def _wrong_sums(x: torch.Tensor) -> list[tuple[list[float], str]]:
    """Sums of a part of the numbers, and what was left out."""
    blocks = torch.nn.functional.pad(x, (0, -len(x) % 256)).view(-1, 256)
    wrong = [
        (blocks[:, :128].sum(), "Only the first 128 numbers of each block were added up: a round is missing."),
        (blocks[:, ::2].sum(), "Only every other number was added up: a round is missing."),
        (blocks[:, 0].sum(), "Only the first number of each block counts: the others were not added to it."),
        (blocks[-1].sum(), "Only the sum of the last block is there."),
        (blocks[0].sum(), "Only the sum of the first block is there."),
    ]
    return [([part.item()], message) for part, message in wrong if part != x.sum()]
