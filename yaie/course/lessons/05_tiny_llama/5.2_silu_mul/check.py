from __future__ import annotations

import torch

from yaie.course.expect import expect, given
from yaie.kernels import model_ops

from ..common import random_numbers, silu_mul_by_formula


def check() -> None:
    for rows in ([[1.0, 2.0], [3.0, 4.0]], [[1.0, 0.0, 2.0, 3.0]], [[-1.0, 2.0, 0.5, -3.0, 1.0, 4.0]]):
        gate_up = torch.tensor(rows)
        with given(f"silu_mul(torch.tensor({rows}))"):
            got = model_ops.silu_mul(gate_up)
            expect(got, silu_mul_by_formula(torch.tensor(rows)), "result", tolerance=1e-4)
            expect(gate_up, torch.tensor(rows), "argument `gate_up` after the call (as before)")
    large = torch.tensor([[100.0, -100.0, 2.0, 3.0]])
    with given("silu_mul(torch.tensor([[100., -100., 2., 3.]]))"):
        expect(model_ops.silu_mul(large), silu_mul_by_formula(large), "result", tolerance=1e-4)
    wide = torch.tensor([[1.0, 0.0, 2.0, 3.0]], dtype=torch.bfloat16)
    with given("silu_mul(torch.tensor([[1., 0., 2., 3.]]).bfloat16())"):
        got = model_ops.silu_mul(wide)
        expect(got, silu_mul_by_formula(wide), "result", tolerance=3e-2)
        expect(str(got.dtype), "torch.bfloat16", "dtype of the result")
    half = torch.tensor([[1.0, 0.0, 2.0, 3.0]], dtype=torch.float16)
    with given("silu_mul(torch.tensor([[1., 0., 2., 3.]]).half())"):
        got = model_ops.silu_mul(half)
        expect(got, silu_mul_by_formula(half), "result", tolerance=1e-2)
        expect(str(got.dtype), "torch.float16", "dtype of the result")
    for shape in ((1, 2), (7, 40), (2, 3, 66)):
        gate_up = random_numbers(*shape, seed=2) * 3
        with given(f"silu_mul(random {list(shape)})"):
            expect(model_ops.silu_mul(gate_up), silu_mul_by_formula(gate_up), "result", tolerance=1e-4)
