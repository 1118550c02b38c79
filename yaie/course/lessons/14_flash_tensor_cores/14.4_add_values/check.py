from __future__ import annotations

from typing import Any

import torch

from yaie.course.differences import part_of_product
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
            sums, values = _sums(module, one, numbered, 0), numbered.half().float()
            wanted = values[torch.arange(rows) % keys]
            expect(sums, wanted, "sums[row][c]", note=_note(sums, wanted, values, rows), axes="row column")
        weights = torch.randint(0, 8, (rows, keys), generator=generator) / 8
        values = torch.randint(-8, 9, (keys, head_dim), generator=generator).float()
        for before in (0, 100):
            with given(
                f"{NAMES[head_dim]}; weights in eighths and whole values at random; the sums are {before} before"
            ):
                sums = _sums(module, weights, values, before)
                note = part_of_product(sums - before, weights, values.T) or _before(sums, weights @ values, before)
                expect(sums, weights @ values + before, "sums[row][c]", note=note, axes="row column")
        with given(f"profile of add_values, {NAMES[head_dim]}"):
            _expect_calls(module.profile(), rows // 16 * (keys // 16) * (head_dim // 8))


def _note(sums: torch.Tensor, wanted: torch.Tensor, values: torch.Tensor, rows: int) -> str:
    """Which value came to the first wrong row, where it is one."""
    for row in (sums != wanted).any(1).nonzero().flatten().tolist()[:1]:
        for key in (values == sums[row]).all(1).nonzero().flatten().tolist():
            return f"Row {row} has value {key} instead of value {row % len(values)}."
        if not sums[row].any():
            return f"Value {row % len(values)} is missing in row {row}."
    return ""


def _before(sums: torch.Tensor, product: torch.Tensor, before: int) -> str:
    """What became of the sums that were there."""
    return "The sums that were there before are gone: add to them." if before and torch.equal(sums, product) else ""


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
