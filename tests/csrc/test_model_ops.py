"""The kernels of csrc/model_ops, every rung, against float64: on a GPU, or else in the emulator's check mode.

Tolerances, of values of size about 1: a result is rounded to its dtype twice (before the last product and after it),
and the sums, roots and exponentials are in float32. What is normed and then turned is rounded three times, and each
number of a pair has a share of the other's error.
"""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from yaie.kernels import api, model_ops, ops, rope

BACKEND = "cuda" if torch.cuda.is_available() else "emulator"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
TOLERANCE = {torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}  # relative to 1 + |value|
SIZES = (1, 15, 16, 17, 33, 264)
RUNGS = (1, 2)
TORCH = ops.operations("torch")


def kernels(**rungs):
    return ops.KernelOperations(BACKEND, rungs=rungs, check=BACKEND == "emulator")


def random(*shape, dtype=torch.float32, scale=1.0):
    return (torch.randn(*shape) * scale).to(dtype).to(DEVICE)


def close(actual, expected, dtype, size=None):
    error = (actual.double() - expected).abs() / (1 + (expected.abs() if size is None else size))
    assert error.max().item() <= TOLERANCE[dtype], (error.max().item(), (error == error.max()).nonzero()[0].tolist())


def norm_by_formula(x, weight, eps):
    x = x.double()
    return x / (x.square().mean(dim=-1, keepdim=True) + eps).sqrt() * weight.double()


def check_norm(rung, num_rows, size, dtype, with_residual, scale=1.0):
    x, weight = random(num_rows, size, dtype=dtype, scale=scale), random(size, dtype=dtype)
    residual = random(num_rows, size, dtype=dtype, scale=scale) if with_residual else None
    total = x if residual is None else residual + x
    kept = x.clone()
    out = kernels(rms_norm=rung).rms_norm(x, weight, 1e-5, residual)
    close(out, norm_by_formula(total, weight, 1e-5), dtype)
    assert torch.equal(x, kept)
    if with_residual:
        assert torch.equal(residual, total)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rung", RUNGS)
def test_rms_norm(rung, dtype):
    """Catches a mean over threads that have no element, a tail beyond the last pack, and a residual not updated."""
    for size in SIZES:
        for with_residual in (False, True):
            check_norm(rung, 3, size, dtype, with_residual)


@pytest.mark.parametrize("rung", RUNGS)
def test_rms_norm_of_long_large_and_zero_rows(rung):
    """Catches a thread that forgets its second pack, a sum in half precision, and a row of zeros that gives NaN."""
    check_norm(rung, 1, 8 * 1024 + 8, torch.float16, True)  # more packs than threads
    check_norm(rung, 1, 4097, torch.float16, True)  # too many for the registers of rung 2: one by one
    check_norm(rung, 2, 40, torch.float16, False, scale=300.0)
    zeros = torch.zeros(2, 24, device=DEVICE)
    out = kernels(rms_norm=rung).rms_norm(zeros, torch.ones(24, device=DEVICE), 1e-6, None)
    assert torch.equal(out, zeros)


def test_rms_norm_of_a_view_and_of_nothing():
    """Catches rows read as if they had no gaps: the norms of query heads go over a part of a matrix product."""
    heads = random(3, 7, 16)[:, :4]
    weight = random(16)
    out = api.rms_norm(heads, weight, 1e-5, backend=BACKEND)
    close(out, norm_by_formula(heads, weight, 1e-5), torch.float32)
    assert api.rms_norm(heads[:0], weight, 1e-5, backend=BACKEND).shape == (0, 4, 16)


def turned_by_formula(x, cos, sin):
    first, second = x.double().chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize(("num_heads", "head_dim"), [(3, 16), (5, 64), (1, 2), (7, 10), (2, 80)])
def test_rope(rung, dtype, num_heads, head_dim):
    """Catches neighbours taken for pairs, a half that is overwritten before it is read, and turned value heads."""
    num_tokens, num_values = 5, 2
    x = random(num_tokens, num_heads + num_values, head_dim, dtype=dtype)
    positions = torch.tensor([0, 1, 17, 5000, 3], device=DEVICE)
    cos, sin = rope.rope_cos_sin(positions, rope.rope_inv_freq(head_dim).to(DEVICE))
    wanted = turned_by_formula(x[:, :num_heads], cos, sin)
    values = x[:, num_heads:].clone()
    kernels(rope=rung).rope(x[:, :num_heads], cos, sin)
    close(x[:, :num_heads], wanted, dtype)
    assert torch.equal(x[:, num_heads:], values)


def heads_of(num_tokens, num_heads, num_kv_heads, head_dim, dtype, with_norms):
    """Arguments of `rope_and_cache`, with caches of one slot more than there are tokens: token 1 has none."""
    heads = random(num_tokens, num_heads + 2 * num_kv_heads, head_dim, dtype=dtype)
    norms = tuple(random(head_dim, dtype=dtype) for _ in range(2)) if with_norms else (None, None)
    positions = torch.randint(0, 5000, (num_tokens,), device=DEVICE)
    cos, sin = rope.rope_cos_sin(positions, rope.rope_inv_freq(head_dim).to(DEVICE))
    slots = torch.randperm(num_tokens + 1)[:num_tokens].to(DEVICE)
    slots[1:2] = -1
    caches = torch.full((2, num_tokens + 1, 1, num_kv_heads, head_dim), 7.0, dtype=dtype, device=DEVICE)
    return heads, norms, 1e-5, cos, sin, *caches, slots


HEADS = [(1, 2, 2, 64), (15, 8, 2, 80), (16, 7, 1, 128), (17, 8, 1, 32), (33, 16, 8, 64), (3, 5, 5, 10), (2, 2, 1, 256)]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rope_and_cache(dtype):
    """Catches a norm over a part of a head, keys turned by another token's angle, values that are turned, a head behind
    the first thread block that is left out, padding that is stored, and slots that are not looked at.

    In one launch and in several the numbers are the same, where a head is a power of 2 and no longer than what a warp
    reads at once: squares are added in the same order, and results are rounded at the same places. Not on a GPU: nvcc
    may round a product before it is added in one kernel, and not in the other.
    """
    one, several = kernels(), kernels(rope_and_cache=1)
    for *shape, head_dim in HEADS:
        for with_norms in (False, True):
            given = heads_of(*shape, head_dim, dtype, with_norms)
            heads, norms, eps, cos, sin, *_, slots = given
            num_tokens, num_heads, num_kv_heads = shape
            parts = list(heads.split((num_heads, num_kv_heads, num_kv_heads), dim=1))
            if with_norms:
                parts[:2] = (norm_by_formula(x, norm, eps) for x, norm in zip(parts, norms, strict=False))
            query, key = (turned_by_formula(x, cos, sin) for x in parts[:2])
            sizes = [2 * x.double().unflatten(-1, (2, -1)).norm(dim=-2).repeat(1, 1, 2) for x in (query, key)]
            kept = heads.clone()
            out, stored = one.rope_and_cache(*given), given[5:7]
            assert torch.equal(heads, kept)
            close(out, query, dtype, sizes[0])
            real = slots >= 0
            close(stored[0][slots[real], 0], key[real], dtype, sizes[1][real])
            assert torch.equal(stored[1][slots[real], 0], parts[2][real])
            left = [slot for slot in range(num_tokens + 1) if slot not in slots.tolist()]
            assert all((cache[left] == 7).all() for cache in stored)
            if BACKEND == "emulator" and head_dim in (32, 64, 128):
                again = heads.clone(), *given[1:5], *map(torch.ones_like, stored)
                assert torch.equal(out, several.rope_and_cache(*again, slots))
                assert all(torch.equal(a[slots[real]], b[slots[real]]) for a, b in zip(stored, again[5:], strict=True))


@pytest.mark.skipif(torch.cuda.is_available(), reason="the emulator counts; on a GPU a profiler does")
def test_rope_and_cache_reads_and_writes_each_head_once():
    """Catches accesses narrower than 16 bytes, heads read twice, and a launch of its own for a part of it."""
    given = heads_of(4, 8, 2, 64, torch.float16, True)
    given[-1].copy_(torch.arange(4))
    lines = global_lines(lambda: kernels().rope_and_cache(*given), "model_ops/rope_and_cache.cu")
    wide = [line for line in lines if line.bytes_per_lane == 16]
    assert {line.bytes_per_lane for line in lines if line not in wide} == {8}  # a slot
    stores = [line for line in wide if line.operation == "store"]
    loads = [line for line in wide if line.operation == "load" and "Pack<T, N>*>(from + " in line.source]
    for of_heads in (loads, stores):
        assert sum(line.bytes_moved for line in of_heads) == given[0].nbytes, lines


def test_what_is_asked_for_by_itself_runs_by_itself():
    """Catches a rung of a norm, or of a rotation, that nobody sees run because one launch does it all."""
    apart = {"model_ops/rms_norm.cu", "model_ops/rope.cu", "memory/reshape_and_cache.cu"}
    for asked in ({}, {"rope": 1}, {"rms_norm": 2}, {"rope_and_cache": 1}):
        operations = kernels(**asked)
        operations.rope_and_cache(*heads_of(2, 2, 1, 16, torch.float32, True))
        assert {file for file, _ in operations.launch} == (apart if asked else {"model_ops/rope_and_cache.cu"})


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rung", RUNGS)
def test_silu_mul(rung, dtype):
    """Catches the halves exchanged, the stride of a half row, and exp() of a large negative gate that gives NaN."""
    for size in SIZES:
        gate_up = random(3, 2 * size, dtype=dtype, scale=3.0)
        gate_up[0, 0], gate_up[1, 0] = -200.0, 200.0
        gate, up = gate_up.double().chunk(2, dim=-1)
        out = kernels(silu_mul=rung).silu_mul(gate_up)
        close(out, gate * torch.sigmoid(gate) * up, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", [1, 15, 16, 33, 520])
def test_embedding(dtype, size):
    """Catches an id of 32 bits read as 64, and a read from wherever a wrong id points."""
    table = random(11, size, dtype=dtype)
    ids = torch.tensor([10, 0, 3, 3, 10], device=DEVICE)
    assert torch.equal(kernels().embedding(table, ids), table[ids])
    assert torch.equal(api.embedding(table, ids.int(), backend=BACKEND), table[ids])
    wrong = torch.tensor([11, 1, -1, 2**40], device=DEVICE)
    out = kernels().embedding(table, wrong)
    assert out[[0, 2, 3]].isnan().all()
    assert torch.equal(out[1], table[1])


@settings(max_examples=12, deadline=None)
@given(rows=st.integers(1, 5), heads=st.integers(1, 4), half=st.integers(1, 40), dtype=st.sampled_from(DTYPES))
def test_the_api_agrees_with_the_torch_twins(rows, heads, half, dtype):
    """Random shapes: in float32 equal up to the order of a sum, in 16 bits rounded where torch rounds."""
    x, weight = random(rows, heads, 2 * half, dtype=dtype), random(2 * half, dtype=dtype)
    residuals = [random(rows, heads, 2 * half, dtype=dtype)] * 2
    residuals = [r.clone() for r in residuals]
    close(
        api.rms_norm(x, weight, 1e-6, residual=residuals[0], backend=BACKEND),
        TORCH.rms_norm(x, weight, 1e-6, residuals[1]).double(),
        dtype,
    )
    assert torch.equal(*residuals)
    close(api.silu_mul(x, backend=BACKEND), model_ops.silu_mul(x).double(), dtype)
    positions = torch.randint(0, 4096, (rows,), device=DEVICE)
    cos, sin = rope.rope_cos_sin(positions, rope.rope_inv_freq(2 * half).to(DEVICE))
    wanted = rope.rotate(x, cos, sin)
    api.rope(x, cos, sin, backend=BACKEND)
    close(x, wanted.double(), dtype)


def test_other_dtypes_are_refused_by_name():
    """Catches a half read as float (C1), and float64 that is silently computed in 32 bits."""
    x = torch.randn(2, 4, 8, device=DEVICE, dtype=torch.float64)
    with pytest.raises(api.BackendError, match=r"not torch\.float64"):
        api.silu_mul(x, backend=BACKEND)
    with pytest.raises(api.BackendError, match=r"not torch\.float64"):
        api.rms_norm(x, x[0, 0], 1e-5, backend=BACKEND)
    assert torch.equal(api.silu_mul(x), model_ops.silu_mul(x))  # auto: torch does it


def global_lines(call, file):
    call()
    lines = kernels().module(file).profile().lines
    return [line for line in lines if line.space == "global"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="the emulator counts; on a GPU a profiler does")
def test_rungs_move_the_bytes_that_their_headers_say():
    """A rung that does not do what its comment claims teaches something wrong."""
    rows, size = 4, 1024
    moved = {}
    for rung in RUNGS:
        x, residual, weight = random(rows, size), random(rows, size), random(size)
        lines = global_lines(
            lambda args=(x, weight, 1e-5, residual), rung=rung: kernels(rms_norm=rung).rms_norm(*args),
            "model_ops/rms_norm.cu",
        )
        moved[rung] = sum(line.bytes_moved for line in lines) / (rows * size * 4)
        assert {line.bytes_per_lane for line in lines} == {4 if rung == 1 else 16}
    assert moved == {1: 6 + 1, 2: 4 + 1}  # in rows; the one more is the weight, which every thread block reads
    x = random(rows, 2 * size)
    for rung, width in ((1, 4), (2, 16)):
        lines = global_lines(lambda rung=rung: kernels(silu_mul=rung).silu_mul(x), "model_ops/silu_mul.cu")
        assert sum(line.bytes_moved for line in lines) == 3 * rows * size * 4
        assert {line.bytes_per_lane for line in lines} == {width}
