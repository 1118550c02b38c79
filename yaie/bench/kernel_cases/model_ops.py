"""What a decoder computes between its matrix products, for a prefill of 8,192 tokens of a model with 4,096 channels."""

from __future__ import annotations

import functools

import torch

from yaie.bench.kernel_cases import Case, Setting, Work
from yaie.kernels import ops
from yaie.kernels.ops import TorchOperations
from yaie.profiling.costs import Cost

DTYPE = torch.bfloat16
TWIN = TorchOperations()


def cases(setting: Setting) -> list[Case]:
    tokens, size = (8192, 4096) if setting.real else (16, 256)
    return [f(setting, tokens, size) for f in (rms_norm, rope, rope_and_cache, silu_mul, embedding)]


def rms_norm(setting: Setting, tokens: int, size: int) -> Case:
    """With the residual sum: x and the residual are read, the sum and its norm are written."""

    def make() -> Work:
        x, before = (setting.random(tokens, size, dtype=DTYPE) for _ in range(2))
        weight, residual = setting.random(size, dtype=DTYPE), before.clone()
        ours = {
            name: functools.partial(rung.rms_norm, x, weight, 1e-6, residual)
            for name, rung in setting.operations("rms_norm").items()
        }
        return Work(
            ours=ours,
            peers={"torch, op by op": lambda: TWIN.rms_norm(x, weight, 1e-6, residual)},
            wanted=lambda: TWIN.rms_norm(x, weight, 1e-6, before.clone()),
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
            TWIN.rope(turned, cos, sin)
            return turned

        ours = {name: functools.partial(run, rung.rope) for name, rung in setting.operations("rope").items()}
        return Work(
            ours=ours, peers={"torch, op by op": lambda: run(TWIN.rope)}, wanted=wanted, clear=lambda: x.copy_(before)
        )

    moved = 2 * tokens * size * DTYPE.itemsize + tokens * head_dim * 4
    title = f"rope, {tokens} x {heads} heads of {head_dim}"
    return Case(title, make, Cost(bytes=moved, flops=3 * tokens * size), tolerance=0.02)


def rope_and_cache(setting: Setting, tokens: int, size: int) -> Case:
    """From the product with the weights of query, key and value to the cache: norms, rotation, and keys and values
    stored. Four heads of the query share one of keys."""
    head_dim = 128 if setting.real else 64
    heads = size // head_dim
    kv_heads = heads // 4

    def make() -> Work:
        given = setting.random(tokens, heads + 2 * kv_heads, head_dim, dtype=DTYPE)
        norms = tuple(setting.random(head_dim, dtype=DTYPE) for _ in range(2))
        angles = setting.random(tokens, 1, head_dim // 2)
        cache = torch.zeros(2, tokens, 1, kv_heads, head_dim, dtype=DTYPE, device=setting.device)
        arguments = given, norms, 1e-6, angles.cos(), angles.sin(), *cache, setting.permutation(tokens)

        def run(operations) -> tuple[torch.Tensor, ...]:
            return operations.rope_and_cache(*arguments), cache

        def flat(result: tuple[torch.Tensor, ...]) -> torch.Tensor:
            return torch.cat([each.flatten() for each in result])

        rungs = setting.operations("rope_and_cache").values()
        names = "rms_norm, rope, reshape_and_cache", "rope_and_cache"
        return Work(
            ours={name: functools.partial(run, rung) for name, rung in zip(names, rungs, strict=True)},
            peers={"torch, op by op": lambda: run(TWIN)},
            wanted=lambda: flat(run(TWIN)),
            clear=cache.zero_,
            of_ours=flat,
            of_peers=flat,
        )

    moved = 2 * tokens * (heads + 2 * kv_heads) * head_dim * DTYPE.itemsize + tokens * head_dim * 4
    title = f"rope_and_cache, {tokens} x {heads} + 2 x {kv_heads} heads of {head_dim}"
    return Case(title, make, Cost(bytes=moved, flops=8 * tokens * size), tolerance=0.02)


def silu_mul(setting: Setting, tokens: int, size: int) -> Case:
    """The gate and up of an MLP that is 3.5 times as wide as the model."""
    inner = size * 7 // 2

    def make() -> Work:
        gate_up = setting.random(tokens, 2 * inner, dtype=DTYPE)
        ours = {
            name: functools.partial(rung.silu_mul, gate_up) for name, rung in setting.operations("silu_mul").items()
        }
        return Work(
            ours=ours,
            peers={"torch, op by op": lambda: TWIN.silu_mul(gate_up)},
            wanted=lambda: TWIN.silu_mul(gate_up.float()),
        )

    moved = 3 * tokens * inner * DTYPE.itemsize
    return Case(f"silu_mul, {tokens} x {inner}", make, Cost(bytes=moved, flops=4 * tokens * inner), tolerance=0.02)


def embedding(setting: Setting, tokens: int, size: int) -> Case:
    vocabulary = 128_256 if setting.real else 512

    def make() -> Work:
        table = setting.random(vocabulary, size, dtype=DTYPE)
        ids = torch.randint(vocabulary, (tokens,), device=setting.device)
        return Work(
            ours={"embedding": functools.partial(ops.operations(setting.backend).embedding, table, ids)},
            peers={"table[ids]": lambda: TWIN.embedding(table, ids)},
            wanted=lambda: table[ids],
        )

    moved = 2 * tokens * size * DTYPE.itemsize
    return Case(f"embedding, {tokens} rows of {size}", make, Cost(bytes=moved, flops=0))
