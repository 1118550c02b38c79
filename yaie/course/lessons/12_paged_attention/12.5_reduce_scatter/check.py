from __future__ import annotations

from math import log2
from pathlib import Path

import torch

from yaie.course.expect import Mismatch, expect, given
from yaie.course.language import engine_seam

LAUNCHERS = Path(__file__).with_suffix(".cu")
SIZES = ((2, 2), (2, 4), (4, 2), (4, 4), (16, 1), (8, 16), (16, 16), (32, 16), (32, 8))  # LANES, COUNT
POWERS = 10.0 ** torch.arange(8)
HALVE = "In each round a lane gives half of the numbers that are left to its partner, and takes the other half."


def check() -> None:
    module = engine_seam.module("paged_attention/paged_decode_3_grouped.cu", more=LAUNCHERS)
    generator = torch.Generator().manual_seed(0)
    for lanes, count in SIZES:
        numbers = torch.randint(1, 100, (32, count), generator=generator).float()
        if lanes * count <= len(POWERS):  # which of them were added up can be read from a sum
            numbers[:lanes] = POWERS[: lanes * count].view(lanes, count)
        each = max(1, count // lanes)
        sums = torch.full((32, each), -1.0)
        first = "; ".join(str(row) for row in numbers[:lanes].int().tolist()) if lanes * count <= 16 else "random"
        with given(f"LANES {lanes}, COUNT {count}, numbers of the first team's lanes: {first}"):
            profile = module.profile(f"scatter_{lanes}_{count}", numbers, sums)
            note = _note(sums, numbers, lanes)
            expect(sums, _shared_out(numbers, lanes), "sums of each lane of the warp", note=note, axes="lane sum")
            most = count - 1 + int(log2(max(1, lanes // count)))
            if profile.shuffles > most:
                headline = "The sums are right, but they take too many shuffles."
                raise Mismatch("shuffles", f"{profile.shuffles} shuffles", f"at most {most}", "", HALVE, headline)


def _note(sums: torch.Tensor, numbers: torch.Tensor, lanes: int) -> str:
    """What the lanes have instead, where it is one of these."""
    count = numbers.shape[1]
    each, teams = max(1, count // lanes), numbers.view(32 // lanes, lanes, count).sum(1).repeat_interleave(lanes, 0)
    if torch.equal(sums, numbers[:, :each]):
        return "The lanes still have their own numbers: nothing was added up."
    if lanes < 32 and torch.isin(sums, numbers.sum(0)).all():
        return "The sums are over the whole warp. A team has LANES lanes."
    if torch.equal(sums, teams[:, :each]):
        return "Each lane has the sums of lane 0. They are shared out."
    if all(torch.isin(mine, team).all() for mine, team in zip(sums, teams, strict=True)):
        return "The sums of a team are right, and other lanes have them."
    return _added_up(sums, teams, numbers, lanes) if lanes * count <= len(POWERS) else ""


def _added_up(sums: torch.Tensor, teams: torch.Tensor, numbers: torch.Tensor, lanes: int) -> str:
    """What the first wrong sum of the first team holds, whose numbers are powers of 10."""
    count = numbers.shape[1]
    wanted = _shared_out(numbers, lanes)
    for lane, place in (sums != wanted)[:lanes].nonzero().tolist()[:1]:
        digits = [int(digit) for digit in reversed(f"{sums[lane, place].item():.0f}".zfill(lanes * count))]
        if len(digits) > lanes * count or max(digits) > lanes:
            return ""
        parts = [(digit, f"number {at % count} of lane {at // count}") for at, digit in enumerate(digits) if digit]
        added = " and ".join(name if digit == 1 else f"{digit} times {name}" for digit, name in parts) or "nothing"
        own = (teams[lane] == wanted[lane, place]).nonzero()[0].item()
        return f"Sum {place} of lane {lane} is {added}. It should be number {own} of all lanes of the team."
    return ""


def _shared_out(numbers: torch.Tensor, lanes: int) -> torch.Tensor:
    """The sums over each team, `[32, sums of a lane]`."""
    count = numbers.shape[1]
    totals = numbers.view(32 // lanes, lanes, count).sum(1)
    if count < lanes:
        return totals.repeat_interleave(lanes // count, dim=1).reshape(32, 1)
    return totals.reshape(32, count // lanes)
