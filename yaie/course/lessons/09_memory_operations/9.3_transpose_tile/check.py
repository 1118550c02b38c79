from __future__ import annotations

import torch

from yaie.course.expect import (
    Mismatch,
    expect,
    expect_lanes,
    expect_no_bank_conflicts,
    expect_sectors,
    expect_share,
    given,
)
from yaie.course.language import engine_seam

ONE_EACH = "A thread block has a thread for each element of its tile."


def check() -> None:
    module = engine_seam.module("memory/transpose.cu")
    for rows, cols in ((2, 3), (1, 5), (33, 2), (40, 70), (64, 32)):
        x = torch.arange(rows * cols, dtype=torch.float32).reshape(rows, cols)
        for launcher in ("transpose_2_tiled", "transpose_3_padded"):
            y = torch.full((cols, rows), -1.0)
            with given(f"{launcher} of x with {rows} rows and {cols} columns, numbered 0, 1, 2, ... along the rows"):
                getattr(module, launcher)(x, y, rows, cols)
                expect(y, x.T, "result y")
    x = torch.arange(64 * 64, dtype=torch.float32).reshape(64, 64)
    with given("profile of transpose_3_padded of 64 rows and 64 columns"):
        profile = module.profile("transpose_3_padded", x, torch.empty(64, 64), 64, 64)
        expect_sectors(profile, 4, note="Both halves must run along rows of global memory.")
        expect_lanes(profile, 64 * 64, note=ONE_EACH)
        expect_share(profile, 1, note=ONE_EACH)
        expect_no_bank_conflicts(profile)
    with given("profile of transpose_2_tiled, with PAD = 0, of 64 rows and 64 columns"):
        profile = module.profile("transpose_2_tiled", x, torch.empty(64, 64), 64, 64)
        if not any(line.bank_conflicts for line in profile.lines):
            headline = "The result is right, but PAD is not what pads the tile."
            note = "A row of the tile has TILE + PAD columns. With PAD = 0 the conflicts must show."
            raise Mismatch("bank conflicts", "none with PAD = 0", "conflicts with PAD = 0", "", note, headline)
