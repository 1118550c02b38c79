from __future__ import annotations

import torch

from yaie.course.expect import expect, given
from yaie.kernels import sampling

from ..common import NO, by_logit, expect_new, ids_kept, kind, random_logits, shown_rows, unchanged

LARGEST_CASES: tuple[tuple[list[list[float]], list[int]], ...] = (
    ([[3.0, 1.0, 2.0]], [2]),
    ([[-3.0, -1.0, -2.0]], [1]),
    ([[1.0, 2.0, 2.0, 2.0, 2.0]], [2]),
    ([[5.0, 4.0, 4.0, 5.0, 4.0]], [3]),
    ([[3.0, 1.0, 2.0]], [3]),
    ([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0]], [1, 2]),
    ([[0.0, 1.0, 2.0, 3.0], [3.0, 2.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0]], [3, 1, 4]),
    ([[NO, 1.0, NO, 0.0]], [3]),
    ([[7.0]], [1]),
)


def check() -> None:
    cases = [(torch.tensor(rows), counts) for rows, counts in LARGEST_CASES]
    cases += [(random_logits(n, size), [1, size, size // 2, 5][:n]) for n, size in ((2, 5), (3, 33), (4, 64), (4, 257))]
    for logits, counts in cases:
        expected = [row.copy() for row in logits.tolist()]
        for row, count in zip(expected, counts, strict=True):
            for token in by_logit(row)[count:]:
                row[token] = NO
        before = logits.clone()
        with given(f"keep_largest({shown_rows(logits)}, torch.tensor({counts}))"):
            got = sampling.keep_largest(logits, torch.tensor(counts))
            expect(kind(got), "Tensor", "type of the result")
            expect(got, torch.tensor(expected), "result")
            expect_new(got, logits)
            unchanged(logits, before)
    with given("keep_top_k(torch.tensor([[3., 1., 2.]] * 3), torch.tensor([2, -1, 100])), which calls it"):
        got = sampling.keep_top_k(torch.tensor([[3.0, 1.0, 2.0]] * 3), torch.tensor([2, -1, 100]))
        expect(ids_kept(got), [[0, 2], [0, 1, 2], [0, 1, 2]], "list of token ids that are kept")
