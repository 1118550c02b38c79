"""Flash attention, every rung, against softmax in float64: on a GPU, or else in the emulator's check mode.

Tolerances: the output is an average of values of size about 1, so its error is that of its own rounding (one unit
in the last place of the dtype) and of the weights, which the tensor cores take in 16 bits.
"""

import math

import pytest
import torch

from yaie.kernels import api
from yaie.kernels.native import flash_attention as native

BACKEND = "cuda" if torch.cuda.is_available() else "emulator"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TOLERANCE = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}  # absolute


def random(*shape, dtype=torch.float32):
    return torch.randn(*shape).to(dtype).to(DEVICE)


def cumulative(lengths):
    return torch.tensor([0, *lengths]).cumsum(0, dtype=torch.int32).to(DEVICE)


def oracle(query, key, value, q_lens, kv_lens, causal, scale=None):
    """Softmax attention in float64, one head of one sequence after the other."""
    out = torch.zeros(query.shape, dtype=torch.float64, device=query.device)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    group = query.shape[1] // key.shape[1]
    first_q = first_k = 0
    for q_len, kv_len in zip(q_lens, kv_lens, strict=True):
        q = query[first_q : first_q + q_len].double().transpose(0, 1)
        k, v = (
            t[first_k : first_k + kv_len].double().transpose(0, 1).repeat_interleave(group, 0)
            for t in (key, value)
        )
        scores = q @ k.transpose(1, 2) * scale
        if causal:
            hidden = torch.arange(kv_len)[None] > torch.arange(q_len)[:, None] + kv_len - q_len
            scores.masked_fill_(hidden.to(DEVICE), -math.inf)
        weights = torch.softmax(scores, dim=-1).nan_to_num(0)
        out[first_q : first_q + q_len] = (weights @ v).transpose(0, 1)
        first_q, first_k = first_q + q_len, first_k + kv_len
    return out


def inputs(q_lens, kv_lens, num_heads, num_kv_heads, head_dim, dtype):
    query = random(sum(q_lens), num_heads, head_dim, dtype=dtype)
    key, value = (random(sum(kv_lens), num_kv_heads, head_dim, dtype=dtype) for _ in range(2))
    return query, key, value


def run(query, key, value, q_lens, kv_lens, **options):
    return native.flash_attention(
        query, key, value, cumulative(q_lens), cumulative(kv_lens), max(q_lens), max(kv_lens),
        backend=BACKEND, check=BACKEND == "emulator", **options,
    )  # fmt: skip


def check(rung, q_lens, kv_lens, *, heads=(2, 1), head_dim=32, dtype=torch.float32, causal=True, scale=None):
    tensors = inputs(q_lens, kv_lens, *heads, head_dim, dtype)
    out = run(*tensors, q_lens, kv_lens, rung=rung, causal=causal, scale=scale)
    wanted = oracle(*tensors, q_lens, kv_lens, causal, scale)
    error = (out.double() - wanted).abs()
    assert torch.isfinite(out).all()
    assert error.max().item() <= TOLERANCE[dtype], (
        error.max().item(),
        (error == error.max()).nonzero()[0].tolist(),
    )


EXACT_RUNGS = [rung for rung in native.RUNGS if rung < 4]


@pytest.mark.parametrize("rung", EXACT_RUNGS)
@pytest.mark.parametrize("length", [1, 15, 16, 17, 33])
def test_lengths_around_a_tile(rung, length):
    """The guide's kernel was right up to 32 keys and wrong at 33: a tile overwrote the one before (F1)."""
    check(rung, [length], [length], causal=False)
    check(rung, [length], [length], causal=True)


HALVES = (torch.float16, torch.bfloat16)


@pytest.mark.parametrize("length", [1, 15, 16, 17, 33, 65])
def test_lengths_around_a_tile_on_tensor_cores(length):
    """Rows and keys beyond the end are computed with, too: as zeros that must not count."""
    for causal, dtype in ((False, torch.float16), (True, torch.bfloat16)):
        check(4, [length], [length], head_dim=64, dtype=dtype, causal=causal)


def test_through_the_api():
    """A batch of rectangles: causal or not, queries at the end of a longer context, padding."""
    q, k, v = random(3, 20, 4, 32), random(3, 20, 2, 32), random(3, 20, 2, 32)
    for query, options in (
        (q, {}), (q, {"causal": False}), (q[:, 15:], {}), (q, {"seq_lens": [20, 0, 7]}), (q, {"scale": 0.5}),
    ):  # fmt: skip
        wanted = api.attention_forward(query, k, v, backend="torch", **options)
        out = api.attention_forward(query, k, v, backend=BACKEND, **options)
        torch.testing.assert_close(out, wanted, atol=2e-6, rtol=0)
