from __future__ import annotations

import torch

from yaie.course.expect import expect, given

from ..common import gated


def check() -> None:
    for values in ([0.0], [1.0, -1.0], [100.0], [-100.0, 300.0, -300.0]):
        with given(f"gates {values}, up 1.0"):
            z = torch.tensor(values, dtype=torch.float64)
            expect(gated(values), (z * torch.sigmoid(z)).float(), "result", tolerance=1e-4)
