from __future__ import annotations

import itertools
import math
from fractions import Fraction

import torch

from yaie.course.expect import expect, given
from yaie.kernels import sampling

from ..common import kind

DRAW_CASES: tuple[tuple[list[list[float]], list[float]], ...] = (
    ([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7], [0.7, 0.1, 0.2]], [0.6, 0.8, 0.95]),
    ([[0.5, 0.25, 0.25]], [0.6]),
    ([[0.5, 0.25, 0.25]], [0.1]),
    ([[0.5, 0.25, 0.25]], [0.5]),
    ([[0.0, 1.0]], [0.0]),
    ([[1.0, 1.0, 2.0]], [0.4]),
    # Each of the last 64 tokens is smaller than half the distance between 1 and the next float32.
    ([[1.0] + [2.0**-25] * 64], [1 - 2.0**-22]),
    ([[0.5, 0.0, 0.0, 0.5, 0.0]], [math.nextafter(1, 0)]),
    ([[0.5, 0.5], [0.5, 0.5], [0.25, 0.75]], [0.75, 0.25, 0.3]),
    ([[0.0, 0.0, 3.0]], [0.999]),
    ([[1.0]], [0.7]),
)


def check() -> None:
    cases = list(DRAW_CASES)
    for n, size in ((2, 17), (3, 257)):
        generator = torch.Generator().manual_seed(size)
        weights = torch.randint(0, 4, (n, size), generator=generator).float()
        uniforms = torch.rand(n, dtype=torch.float64, generator=generator)
        cases.append((weights.tolist(), uniforms.tolist()))
    for rows, uniforms in cases:
        expected = []
        for row, u in zip(rows, uniforms, strict=True):
            ends = list(itertools.accumulate(map(Fraction, row)))
            target = Fraction(u) * ends[-1]
            expected.append(next(i for i, end in enumerate(ends) if target < end))
        short = max(map(len, rows)) <= 8
        text = f"torch.tensor({rows})" if short else f"probabilities [{len(rows)}, {len(rows[0])}]"
        with given(f"draw_tokens({text}, torch.tensor({uniforms}, dtype=torch.float64))"):
            probs, numbers = torch.tensor(rows), torch.tensor(uniforms, dtype=torch.float64)
            got = sampling.draw_tokens(probs, numbers)
            expect(kind(got), "Tensor", "type of the result")
            expect(got, torch.tensor(expected), "list of tokens drawn")
            expect(str(got.dtype), "torch.int64", "dtype of the tokens")
            expect(probs, torch.tensor(rows), "content of `probs` after the call (as before)")
