from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from yaie.course.expect import expect, given
from yaie.course.language import engine_seam

LAUNCHERS = Path(__file__).with_suffix(".cu")


def _wanted(row: torch.Tensor, top_k: int, top_p: float) -> list[int]:
    """The tokens that the row keeps, by a sort."""
    order = np.argsort(-row.double().numpy(), kind="stable")
    order = order[:top_k] if top_k > 0 else order
    weights = np.exp(row.double().numpy()[order] - row.max().item())
    before = np.cumsum(weights) - weights
    return sorted(order[before < top_p * weights.sum()].tolist() if top_p < 1 else order.tolist())


def _limits(row: torch.Tensor, id_bits: int, top_k: int, top_p: float) -> torch.Tensor:
    """What each thread of a block returns, in the order of row.cuh: distance to the largest, then id."""
    limits = torch.full((128,), -1, dtype=torch.int64)
    launch = engine_seam.module("sampling/sample_2_radix.cu", more=LAUNCHERS).radix_limit_alone
    launch(row, len(row), id_bits, top_k, top_p, limits)
    return limits


def _up_to(row: torch.Tensor, id_bits: int, limit: int) -> list[int]:
    """The tokens whose order is at most the limit."""
    distance = row.max() - row
    order = distance.view(torch.int32).long() << id_bits | torch.arange(len(row))
    return (order <= limit).nonzero().flatten().tolist()


def check() -> int:
    ties = [3.0, 1.0, 3.0, 2.0, 3.0, 0.0, 2.0]
    close = (torch.arange(40) % 7 * 0.25 - torch.arange(40) * 1e-3).tolist()
    many = 26  # bits of an id, as 2^26 tokens need: the highest digit begins one higher than with a usual vocabulary
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
        ([0.0, 0.0], 1, 1.0),
        ((torch.arange(10_000) * 7919 % 10_000 // 3 * 1e-3).tolist(), 9000, 1.0),
    ]
    cases = [(*case, max(1, (len(case[0]) - 1).bit_length())) for case in cases]
    for logits, top_k, top_p, id_bits in [*cases[:-1], (close, 7, 1.0, many), (close, -1, 0.43, many), cases[-1]]:
        wishes = [f"top_k = {top_k}"] * (top_k > 0) + [f"top_p = {top_p}"] * (top_p < 1)
        shown = logits if len(logits) < 9 else f"[{logits[0]}, {logits[1]}, ...], {len(logits)} of them"
        wishes += [f"row.id_bits = {id_bits}"] * (id_bits == many)
        with given(f"logits {shown}; {' and '.join(wishes)}"):
            row = torch.tensor(logits)
            limits = _limits(row, id_bits, top_k, top_p)
            kept, wanted = _up_to(row, id_bits, limits[0].item()), _wanted(row, top_k, top_p)
            note = (
                f"{len(kept)} {'is' if len(kept) == 1 else 'are'} kept instead of {len(wanted)}."
                if len(kept) != len(wanted)
                else ""
            )
            expect(kept, wanted, "ids of the tokens up to the limit", note=note)
            expect(limits, limits[:1].expand(128), "limit that each thread returns")
    with given("profile of 10000 logits, top_k = 9000"):
        lines = engine_seam.module("sampling/sample_2_radix.cu", more=LAUNCHERS).profile().lines
        loads = [line for line in lines if (line.space, line.operation) == ("global", "load")]
        return sum(line.bytes for line in loads) // (4 * len(row)) - 1  # one reading before found the largest
