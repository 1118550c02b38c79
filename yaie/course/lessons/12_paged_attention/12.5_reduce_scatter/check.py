from __future__ import annotations

from math import log2
from pathlib import Path

import torch

from yaie.course.expect import Mismatch, expect, given
from yaie.course.language import engine_seam

LAUNCHERS = Path(__file__).with_suffix(".cu")
SIZES = ((2, 2), (2, 4), (4, 2), (4, 4), (16, 1), (8, 16), (16, 16), (32, 16), (32, 8))  # LANES, COUNT
HALVE = "In each round a lane gives half of the numbers that are left to its partner, and takes the other half."


def check() -> None:
    module = engine_seam.module("paged_attention/paged_decode_3_grouped.cu", more=LAUNCHERS)
    generator = torch.Generator().manual_seed(0)
    for lanes, count in SIZES:
        numbers = torch.randint(1, 100, (32, count), generator=generator).float()
        each = max(1, count // lanes)
        sums = torch.full((32, each), -1.0)
        first = "; ".join(str(row) for row in numbers[:lanes].int().tolist()) if lanes * count <= 16 else "random"
        with given(f"LANES {lanes}, COUNT {count}, numbers of the first team's lanes: {first}"):
            profile = module.profile(f"scatter_{lanes}_{count}", numbers, sums)
            expect(sums, _shared_out(numbers, lanes), "sums of each lane of the warp")
            most = count - 1 + int(log2(max(1, lanes // count)))
            if profile.shuffles > most:
                headline = "The sums are right, but they take too many shuffles."
                raise Mismatch("shuffles", f"{profile.shuffles} shuffles", f"at most {most}", "", HALVE, headline)


def _shared_out(numbers: torch.Tensor, lanes: int) -> torch.Tensor:
    """The sums over each team, `[32, sums of a lane]`."""
    count = numbers.shape[1]
    totals = numbers.view(32 // lanes, lanes, count).sum(1)
    if count < lanes:
        return totals.repeat_interleave(lanes // count, dim=1).reshape(32, 1)
    return totals.reshape(32, count // lanes)
