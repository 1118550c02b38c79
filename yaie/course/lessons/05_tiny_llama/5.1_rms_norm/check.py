from __future__ import annotations

import torch

from yaie.course.expect import expect, given
from yaie.kernels import model_ops

from ..common import norm_by_formula, random_numbers

NORM_CASES: tuple[tuple[list[list[float]], list[float], float], ...] = (
    ([[1.0, 7.0]], [1.0, 1.0], 0.0),
    ([[1.0, 7.0]], [1.0, 1.0], 11.0),
    ([[1.0, 7.0]], [10.0, 1.0], 0.0),
    ([[1.0, -1.0]], [1.0, 1.0], 3.0),  # eps is more than the mean square
    ([[1.0, 7.0], [3.0, 21.0]], [1.0, 1.0], 0.0),
    ([[0.0, 0.0, 0.0]], [1.0, 1.0, 1.0], 1e-6),
)


def check() -> None:
    for rows, weight, eps in NORM_CASES:
        x = torch.tensor(rows)
        with given(f"rms_norm(torch.tensor({rows}), torch.tensor({weight}), eps={eps})"):
            got = model_ops.rms_norm(x, torch.tensor(weight), eps)
            expect(got, norm_by_formula(torch.tensor(rows), torch.tensor(weight), eps), "result", tolerance=1e-5)
            expect(x, torch.tensor(rows), "argument `x` after the call (as before)")
    for shape in ((1, 1), (3, 17), (2, 5, 64)):
        x, weight = random_numbers(*shape) * 3, random_numbers(shape[-1], seed=1)
        with given(f"rms_norm(random {list(shape)}, random weight [{shape[-1]}], eps=1e-5)"):
            got = model_ops.rms_norm(x, weight, 1e-5)
            expect(got, norm_by_formula(x, weight, 1e-5), "result", tolerance=1e-4)
    half = torch.tensor([[300.0, -300.0, 0.0, 0.0]], dtype=torch.float16)
    weight = torch.ones(4, dtype=torch.float16)
    with given("rms_norm(torch.tensor([[300., -300., 0., 0.]]).half(), torch.ones(4).half(), eps=1e-6)"):
        got = model_ops.rms_norm(half, weight, 1e-6)
        expect(got, norm_by_formula(half, weight, 1e-6), "result", tolerance=1e-2)
        expect(str(got.dtype), "torch.float16", "dtype of the result")
    rows, weight = torch.tensor([[1.0, 2.0, 4.0]]).half(), torch.full((3,), 101.0).half()
    with given("rms_norm(torch.tensor([[1., 2., 4.]]).half(), torch.full((3,), 101.).half(), eps=0)"):
        rounded = norm_by_formula(rows, torch.ones(3), 0.0).half()  # the norm's: what comes next is exact in float32
        expect(model_ops.rms_norm(rows, weight, 0.0), rounded * weight, "result (rounded before the weight)")
    rows, weight = torch.arange(1.0, 17).view(1, 16).half(), torch.ones(16).half()
    with given("rms_norm(torch.arange(1., 17.).view(1, 16).half(), torch.ones(16).half(), eps=0)"):
        rounded = norm_by_formula(rows, torch.ones(16), 0.0).half()
        expect(model_ops.rms_norm(rows, weight, 0.0), rounded, "result (one rounding, of the divided row)")
    rows, weight = torch.tensor([[1.0, 7.0]]).bfloat16(), torch.ones(2).bfloat16()
    with given("rms_norm(torch.tensor([[1., 7.]]).bfloat16(), torch.ones(2).bfloat16(), eps=0)"):
        got = model_ops.rms_norm(rows, weight, 0.0)
        expect(got, norm_by_formula(rows, torch.ones(2), 0.0), "result", tolerance=1e-2)
        expect(str(got.dtype), "torch.bfloat16", "dtype of the result")
