from __future__ import annotations

from typing import Any

import torch

from yaie.course.expect import Mismatch, expect, expect_no_bank_conflicts, given

from ..common import launchers

SIZES = {64: (128, 64), 128: (64, 32)}  # by head_dim: rows of 4 warps, keys
NAMES = {64: "HEAD_DIM 64, BANDS 2, BLOCKS 8", 128: "HEAD_DIM 128, BANDS 1, BLOCKS 4"}


def check() -> None:
    module = launchers(__file__)
    generator = torch.Generator().manual_seed(0)
    for head_dim, (rows, keys) in SIZES.items():
        one = torch.zeros(rows, keys)
        one[torch.arange(rows), torch.arange(rows) % keys] = 1.0
        numbered = torch.arange(keys)[:, None] + torch.arange(head_dim) / 128
        with given(
            f"{NAMES[head_dim]}; row i has weight 1 for key i % {keys} and 0 else, value j has j + c / 128 in column c"
        ):
            expect(_sums(module, one, numbered, 0), numbered.half()[torch.arange(rows) % keys].float(), "sums[row][c]")
        weights = torch.randint(0, 8, (rows, keys), generator=generator) / 8
        values = torch.randint(-8, 9, (keys, head_dim), generator=generator).float()
        for before in (0, 100):
            with given(
                f"{NAMES[head_dim]}; weights in eighths and whole values at random; the sums are {before} before"
            ):
                expect(_sums(module, weights, values, before), weights @ values + before, "sums[row][c]")
        with given(f"profile of add_values, {NAMES[head_dim]}"):
            _expect_calls(module.profile(), rows // 16 * (keys // 16) * (head_dim // 8))


def _sums(module: Any, weights: torch.Tensor, values: torch.Tensor, before: int) -> torch.Tensor:
    sums = torch.full((len(weights), values.shape[1]), float(before))
    module.add_values_alone(weights, values.half(), sums, values.shape[1])
    return sums


def _expect_calls(profile: Any, needed: int) -> None:
    calls = profile.tensor_core_calls
    if calls != needed:
        headline = "The result is right, but it is not made by one mma for each 16 rows, 16 keys and 8 columns."
        raise Mismatch("mma", f"{calls} mma of a warp", f"{needed} mma", headline=headline)
    expect_no_bank_conflicts(profile, note="`place` gives addresses without conflicts: 8 rows of one chunk at a time.")
