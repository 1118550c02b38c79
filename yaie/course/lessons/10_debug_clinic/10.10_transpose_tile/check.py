from __future__ import annotations

import torch

from yaie.course.expect import expect, given

from ..common import transposed


def check() -> None:
    for rows, cols in ((2, 2), (1, 2), (2, 1), (3, 5), (33, 40), (70, 2)):
        x = torch.arange(rows * cols, dtype=torch.float32).view(rows, cols)
        with given(f"transpose of a {rows} x {cols} matrix of 0, 1, 2, ..."):
            expect(transposed(rows, cols), x.T, "result")
