"""What a decoder computes between its matrix products, for a prefill of 8,192 tokens of a model with 4,096 channels."""

from __future__ import annotations

import functools

import torch

from yaie.bench.costs import Cost
from yaie.bench.kernel_cases import Case, Setting, Work
from yaie.kernels import model_ops as twin
from yaie.kernels.native import model_ops as native

DTYPE = torch.bfloat16


def cases(setting: Setting) -> list[Case]:
    tokens, size = (8192, 4096) if setting.real else (16, 256)
    return [f(setting, tokens, size) for f in (rms_norm, rope, silu_mul, embedding)]


def rms_norm(setting: Setting, tokens: int, size: int) -> Case:
    """With the residual sum: x and the residual are read, the sum and its norm are written."""

    def make() -> Work:
        x, before = (setting.random(tokens, size, dtype=DTYPE) for _ in range(2))
        weight, residual = setting.random(size, dtype=DTYPE), before.clone()
        ours = {
            name: functools.partial(native.rms_norm, setting.backend, x, weight, 1e-6, residual, rung=rung)
            for rung, name in native.RMS_NORM_RUNGS.items()
        }
        return Work(
            ours=ours,
            peers={"torch, op by op": lambda: twin.add_rms_norm(x, residual, weight, 1e-6)},
            wanted=lambda: twin.add_rms_norm(x, before.clone(), weight, 1e-6),
            clear=lambda: residual.copy_(before),
        )

    moved = 4 * tokens * size * DTYPE.itemsize
    return Case(
        f"add and rms_norm, {tokens} x {size}", make, Cost(bytes=moved, flops=5 * tokens * size), tolerance=0.02
    )


def rope(setting: Setting, tokens: int, size: int) -> Case:
    """In place, all query and key heads of a layer together."""
    head_dim = 128 if setting.real else 64
    heads = size // head_dim

    def make() -> Work:
        before = setting.random(tokens, heads, head_dim, dtype=DTYPE)
        angles = setting.random(tokens, 1, head_dim // 2)
        cos, sin, x = angles.cos(), angles.sin(), before.clone()

        def run(rotate) -> torch.Tensor:
            rotate(x, cos, sin)
            return x

        def wanted() -> torch.Tensor:
            turned = before.clone()
            twin.rope(turned, cos, sin)
            return turned

        ours = {
            name: functools.partial(run, functools.partial(native.rope, setting.backend, rung=rung))
            for rung, name in native.ROPE_RUNGS.items()
        }
        return Work(
            ours=ours, peers={"torch, op by op": lambda: run(twin.rope)}, wanted=wanted, clear=lambda: x.copy_(before)
        )

    moved = 2 * tokens * size * DTYPE.itemsize + tokens * head_dim * 4
    title = f"rope, {tokens} x {heads} heads of {head_dim}"
    return Case(title, make, Cost(bytes=moved, flops=3 * tokens * size), tolerance=0.02)


def silu_mul(setting: Setting, tokens: int, size: int) -> Case:
    """The gate and up of an MLP that is 3.5 times as wide as the model."""
    inner = size * 7 // 2

    def make() -> Work:
        gate_up = setting.random(tokens, 2 * inner, dtype=DTYPE)
        ours = {
            name: functools.partial(native.silu_mul, setting.backend, gate_up, rung=rung)
            for rung, name in native.SILU_MUL_RUNGS.items()
        }
        return Work(
            ours=ours,
            peers={"torch, op by op": lambda: twin.silu_mul(gate_up)},
            wanted=lambda: twin.silu_mul(gate_up.float()),
        )

    moved = 3 * tokens * inner * DTYPE.itemsize
    return Case(f"silu_mul, {tokens} x {inner}", make, Cost(bytes=moved, flops=4 * tokens * inner), tolerance=0.02)


def embedding(setting: Setting, tokens: int, size: int) -> Case:
    vocabulary = 128_256 if setting.real else 512

    def make() -> Work:
        table = setting.random(vocabulary, size, dtype=DTYPE)
        ids = torch.randint(vocabulary, (tokens,), device=setting.device)
        return Work(
            ours={"embedding": lambda: native.embedding(setting.backend, table, ids)},
            peers={"table[ids]": lambda: twin.embedding(table, ids)},
            wanted=lambda: table[ids],
        )

    moved = 2 * tokens * size * DTYPE.itemsize
    return Case(f"embedding, {tokens} rows of {size}", make, Cost(bytes=moved, flops=0))
