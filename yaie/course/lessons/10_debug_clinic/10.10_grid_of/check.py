from __future__ import annotations

import torch

from yaie.course.expect import expect, given

from ..common import module, transposed


def check() -> None:
    for rows, cols in ((2, 2), (1, 33), (33, 1), (32, 64), (33, 40), (40, 70)):
        x = torch.arange(rows * cols, dtype=torch.float32).view(rows, cols)
        with given(f"transpose of a {rows} x {cols} matrix of 0, 1, 2, ..."):
            expect(transposed(rows, cols), x.T, "result")
    for rows, cols in ((40, 70), (64, 32)):
        with given(f"the grid for a {rows} x {cols} matrix"):
            x, y = torch.zeros(rows, cols), torch.zeros(cols, rows)
            (launch,) = module("memory/transpose.cu").profile("transpose_1_naive", x, y, rows, cols).launches
            wanted = [(cols + 31) // 32, (rows + 31) // 32, 1]
            expect(list(launch.grid), wanted, "size of the grid")
