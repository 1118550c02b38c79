from __future__ import annotations

import torch

from yaie.course.expect import expect, expect_lanes, expect_no_bank_conflicts, expect_sectors, expect_share, given
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
