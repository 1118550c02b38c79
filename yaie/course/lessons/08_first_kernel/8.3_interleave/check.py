from __future__ import annotations

import torch

from yaie.course.expect import expect, expect_lanes, given
from yaie.course.language import engine_seam

FILE = "primitives/interleave.cu"


def check() -> int:
    module = engine_seam.module(FILE)
    for n in (3, 1, 127, 128, 129, 1000):
        a = torch.arange(n, dtype=torch.float32) + 1
        c = torch.full((2 * n,), -1.0)
        with given(f"interleave(a, b, c, {n}) with a = [1, 2, 3, ...], b = [10, 20, 30, ...]"):
            module.interleave(a, 10 * a, c, n)
            expect(c, torch.stack([a, 10 * a], 1).flatten(), "result c")
    with given("profile of interleave, n = 1024"):
        profile = module.profile("interleave", torch.ones(1024), torch.ones(1024), torch.zeros(2048), 1024)
        expect_lanes(profile, 2048, note="Share the numbers of c out to the threads.")
        return sum(line.sectors for line in profile.lines)
