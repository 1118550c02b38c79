"""The kernels of csrc/model_ops, every rung, against float64: on a GPU, or else in the emulator's check mode.

Tolerances, of values of size about 1: a result is rounded to its dtype twice (before the last product and after it),
and the sums, roots and exponentials are in float32.
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


def close(actual, expected, dtype):
    error = (actual.double() - expected).abs() / (1 + expected.abs())
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


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize(("num_heads", "head_dim"), [(3, 16), (5, 64), (1, 2), (7, 10), (2, 80)])
def test_rope(rung, dtype, num_heads, head_dim):
    """Catches neighbours taken for pairs, a half that is overwritten before it is read, and turned value heads."""
    num_tokens, num_values = 5, 2
    x = random(num_tokens, num_heads + num_values, head_dim, dtype=dtype)
    positions = torch.tensor([0, 1, 17, 5000, 3], device=DEVICE)
    cos, sin = rope.rope_cos_sin(positions, rope.rope_inv_freq(head_dim).to(DEVICE))
    first, second = x[:, :num_heads].double().chunk(2, dim=-1)
    wanted = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
    values = x[:, num_heads:].clone()
    kernels(rope=rung).rope(x[:, :num_heads], cos, sin)
    close(x[:, :num_heads], wanted, dtype)
    assert torch.equal(x[:, num_heads:], values)


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
