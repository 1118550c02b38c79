from __future__ import annotations

import math

import numpy as np
import torch

from yaie.course.expect import expect, given
from yaie.kernels.sampling import Settings


def _kept(rows: torch.Tensor, settings: Settings) -> list[list[int]]:
    """The tokens that each row keeps, by a sort."""
    kept = []
    for row, top_k, top_p in zip(rows, settings.top_k, settings.top_p, strict=True):
        order = np.argsort(-row.double().numpy(), kind="stable")
        order = order[:top_k] if top_k > 0 else order
        weights = np.exp(row.double().numpy()[order] - row.max().item())
        before = np.cumsum(weights) - weights
        kept.append(sorted(order[before < top_p * weights.sum()].tolist() if top_p < 1 else order.tolist()))
    return kept


def check() -> None:
    from yaie.kernels.native import sampling

    ties = [3.0, 1.0, 3.0, 2.0, 3.0, 0.0, 2.0]
    close = (torch.arange(40) % 7 * 0.25 - torch.arange(40) * 1e-3).tolist()
    cases = [
        ([1.0, 4.0, 2.0, 3.0], 2, 1.0),
        ([1.0, 4.0, 2.0, 3.0], -1, 0.7),
        (ties, 2, 1.0),
        (ties, 4, 1.0),
        (ties, -1, 0.5),
        (ties, 5, 0.6),
        (close, 7, 1.0),
        (close, -1, 0.43),
        ([0.0] * 33, 5, 1.0),
        ([2.0, -math.inf, 2.0, 1.0], 2, 1.0),
    ]
    for logits, top_k, top_p in cases:
        rows, settings = torch.tensor([logits]), Settings([1.0], [top_p], [top_k], [0.0])
        wishes = [f"top_k = {top_k}"] * (top_k > 0) + [f"top_p = {top_p}"] * (top_p < 1)
        shown = logits if len(logits) < 9 else f"[{logits[0]}, {logits[1]}, ...], {len(logits)} of them"
        with given(f"logits {shown}; {' and '.join(wishes)}"):
            uniforms = torch.tensor([0.5], dtype=torch.float64)
            _, limits = sampling.launch("emulator", rows, settings, uniforms, rung=2, check=True, with_limits=True)
            kept = sampling.kept_by(limits, rows, settings)[0].nonzero().flatten().tolist()
            expect(kept, _kept(rows, settings)[0], "ids of the tokens that are kept")
