from __future__ import annotations

import torch

from yaie.course.expect import expect, expect_sectors, given, named
from yaie.course.language import engine_seam
from yaie.kernels.ops.launching import DTYPES

from ..common import make_numbers

# [1, 7] with eps 75, by mistakes that show there; then [1, 7] with the residual [2, -3] and eps 0.
WRONG = [
    ([[0.2, 1.4]], "`eps` is missing: it is added to the mean of the squares."),
    ([[0.01, 0.07]], "The root is missing: divide by the root of the mean."),
    ([[1.0, 7.0]], "Nothing was scaled."),
    ([[10.0, 70.0]], "The root belongs below: the numbers are divided by it."),
    ([[0.089443, 0.626099]], "The squares were added up and not divided by their number."),
    ([[0.0125, 0.0875]], "`eps` belongs under the root: it is added to the mean of the squares."),
]
WRONG_RESIDUALS = [
    ([[0.848528, 1.131371]], "It holds the norm. It is to hold the sum, which the next block adds to."),
    ([[1.0, 7.0]], "It holds x. It is to hold the sum of x and residual."),
    ([[4.0, 1.0]], "x was added twice."),
]
WRONG_SUMS = [
    ([[0.2, 1.4]], "x was scaled, and not the sum of x and residual."),
    ([[0.6, 0.8]], "The squares are those of x alone. The root is over the sum of x and residual."),
    ([[0.282843, 1.979899]], "The root is over the sum, and x alone was multiplied by it."),
    ([[0.784465, -1.176697]], "The residual was scaled, and not the sum of x and residual."),
]


def _norm_by_formula(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    x = x.double()
    return x / (x.square().mean(dim=-1, keepdim=True) + eps).sqrt() * weight.double()


def check() -> None:
    module = engine_seam.module("model_ops/rms_norm.cu")

    def run(x: torch.Tensor, residual: torch.Tensor | None, weight: torch.Tensor, eps: float) -> torch.Tensor:
        out = torch.full_like(x, -1.0)
        module.rms_norm_2_one_pass(x, residual, weight, out, len(x), x.shape[1], eps, DTYPES[x.dtype])
        return out

    ones = torch.ones(2)
    with given("x = [[1, 7]], no residual, weight [1, 1], eps 75"):  # an eps of 1e-5 would not show
        out = run(torch.tensor([[1.0, 7.0]]), None, ones, 75.0)
        note = named(out, WRONG) or "Divide by the root of 25 + 75."
        expect(out, torch.tensor([[0.1, 0.7]]), "result in `out`", tolerance=1e-5, note=note)
    with given("x = [[1, 7]], residual [[2, -3]], weight [1, 1], eps 0"):
        residual = torch.tensor([[2.0, -3.0]])
        out = run(torch.tensor([[1.0, 7.0]]), residual, ones, 0.0)
        note = named(residual, WRONG_RESIDUALS)
        expect(residual, torch.tensor([[3.0, 4.0]]), "residual afterwards", note=note)
        expect(
            out, _norm_by_formula(residual, ones, 0.0), "result in `out`", tolerance=1e-5, note=named(out, WRONG_SUMS)
        )
    for rows, size in ((3, 17), (2, 40), (2, 256), (1, 3501)):
        for with_residual in (False, True):
            x, weight = make_numbers(rows, size), make_numbers(size, seed=1)
            residual = make_numbers(rows, size, seed=2) if with_residual else None
            total = x + residual if residual is not None else x
            name = "a residual of small numbers" if with_residual else "no residual"
            with given(f"x of {rows} rows of {size} small whole numbers, {name}, eps 1e-5"):
                out = run(x, residual, weight, 1e-5)
                if residual is not None:
                    expect(residual, total, "residual afterwards")
                wanted, unweighted = (_norm_by_formula(total, each, 1e-5) for each in (weight, torch.ones(size)))
                wrong = [
                    (unweighted, "`weight` is missing."),
                    (
                        total / (total.square().mean(-1, keepdim=True) * 16 + 1e-5).sqrt() * weight,
                        "`sum / packs * N` is (sum / packs) * N: divide by the product, `(packs * N)`.",
                    ),
                    (unweighted * weight[0], "All numbers were multiplied by the first weight."),
                    (unweighted * weight**2, "The weights were multiplied twice."),
                ]
                note = named(out, [(each.tolist(), message) for each, message in wrong]) if size < 100 else ""
                expect(out, wanted, "result in `out`", tolerance=1e-4, note=note, axes="row column")
    x, weight = make_numbers(2, 1024), make_numbers(1024, seed=1)
    with given("profile of rms_norm_2_one_pass, 2 rows of 1024 floats, with a residual"):
        arguments = (x, x.clone(), weight, x.clone(), 2, 1024, 1e-5, 0)
        profile = module.profile("rms_norm_2_one_pass", *arguments)
        expect_sectors(profile, 16)
        moved = sum(line.bytes_moved for line in profile.lines if line.space == "global")
        expect(moved // 4096, 10, "rows of 4096 bytes moved", note="2 of each of x, residual (twice), weight, out.")
