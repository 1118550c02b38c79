from __future__ import annotations

import math

import torch

from yaie.course.expect import expect, given
from yaie.kernels import sampling

from ..common import NO, by_logit, expect_new, ids_kept, kind, random_logits, shown_rows, unchanged

HALVES = [0.5, 0.3, 0.15, 0.05]

NUCLEUS_CASES: tuple[tuple[list[list[float]], list[float]], ...] = (
    ([[0.3, 0.25, 0.2, 0.15, 0.06, 0.04]], [0.65]),  # each likely mistake keeps another number of tokens here
    ([HALVES], [0.9]),
    ([HALVES], [0.7]),
    ([HALVES], [0.4]),
    ([[0.05, 0.15, 0.3, 0.5]], [0.7]),
    ([[5.0, 3.0, 1.5, 0.5]], [0.9]),
    ([HALVES, HALVES], [0.4, 0.9]),
    ([[0.25, 0.25, 0.25, 0.25]], [0.6]),
    ([[0.5, 0.0, 0.5]], [0.9]),
    ([[2.0]], [0.01]),
)

# Logits: sums that are exactly top_p, and tokens that are small beside 1.
EXACT_CASES: tuple[tuple[list[list[float]], list[float]], ...] = (
    ([[0.0, 0.0]], [0.5]),
    ([[0.0, 0.0, 0.0, 0.0]], [0.75]),
    ([[0.0, 0.0]], [0.5 + 2.0**-40]),
    ([[0.0, -50.0]], [1.0]),
    ([[0.0, -27.5]], [1.0]),
    ([[-50.0, 0.0], [0.0, 0.0]], [1.0, 0.5]),
)


def check() -> None:
    cases = [(torch.tensor(rows).log(), rows, top_p, f"torch.tensor({rows}).log()") for rows, top_p in NUCLEUS_CASES]
    for rows, top_p in EXACT_CASES:
        logits = torch.tensor(rows)
        cases.append((logits, logits.double().exp().tolist(), top_p, shown_rows(logits)))
    for n, size in ((2, 5), (3, 33), (4, 300)):
        logits = random_logits(n, size)
        cases.append((logits, logits.double().exp().tolist(), [0.9, 0.5, 1.0, 0.99][:n], shown_rows(logits)))
    for logits, weights, top_p, text in cases:
        before = logits.clone()
        with given(f"keep_top_p({text}, torch.tensor({top_p}))"):
            got = sampling.keep_top_p(logits, torch.tensor(top_p, dtype=torch.float64))
            expect(kind(got), "Tensor", "type of the result")
            kept = [_nucleus(row, p) for row, p in zip(weights, top_p, strict=True)]
            expect(ids_kept(got), kept, "list of token ids that are kept")
            expected = torch.full_like(logits, NO)
            for row, ids in enumerate(kept):
                expected[row, ids] = logits[row, ids]
            expect(got, expected, "result (the logits that are kept do not change)")
            expect_new(got, logits)
            unchanged(logits, before)


def _nucleus(weights: list[float], top_p: float) -> list[int]:
    """Ids in the smallest set whose share reaches `top_p`, in order; a token of weight 0 is never kept."""
    if top_p == 1:
        return [i for i, weight in enumerate(weights) if weight > 0]
    kept, mass, total = [], 0.0, math.fsum(weights)
    for token in by_logit(weights):
        if mass >= top_p * total:
            break
        kept.append(token)
        mass += weights[token]
    return sorted(kept)
