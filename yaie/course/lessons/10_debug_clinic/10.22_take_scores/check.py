from __future__ import annotations

import torch

from yaie.course.expect import expect, given

from ..common import mean_by_scores


def check() -> None:
    for name, scores in (
        ("0, 1, 2", [0.0, 1.0, 2.0]),
        ("32 times 0, then 1", [0.0] * 32 + [1.0]),
        ("1, then 64 times 0", [1.0] + [0.0] * 64),
        ("0.1 * j for j < 100", [0.1 * j for j in range(100)]),
    ):
        with given(f"scores {name}; values 0, 1, 2, ..."):
            weights = torch.tensor(scores, dtype=torch.float64).softmax(0)
            mean = (weights * torch.arange(len(scores))).sum().item()
            expect(mean_by_scores(scores), mean, "weighted mean", tolerance=1e-3)
