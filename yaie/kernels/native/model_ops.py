"""What a decoder computes between its matrix products, by the kernels of `csrc/model_ops/`, for a GPU or the emulator.

The functions named after a kernel call one rung of it; the operations of `yaie.kernels.api` take the best.
"""

from __future__ import annotations

import torch

from yaie.kernels import native
from yaie.kernels.backends import BackendError
from yaie.kernels.native import implements, module

RMS_NORM_RUNGS = {1: "rms_norm_1_two_pass", 2: "rms_norm_2_one_pass"}
ROPE_RUNGS = {1: "rope_1_pairs", 2: "rope_2_packs"}
SILU_MUL_RUNGS = {1: "silu_mul_1_elements", 2: "silu_mul_2_packs"}


def _dtype_code(tensor: torch.Tensor) -> int:
    if tensor.dtype not in native.DTYPES:
        raise BackendError(f"the kernels of model_ops take float32, float16 and bfloat16, not {tensor.dtype}")
    return native.DTYPES[tensor.dtype]


@implements("rms_norm")
def rms_norm(backend, x, weight, eps, residual, *, rung=2, check=False):
    """Rows that are views with gaps (the heads of a query beside those of a key) are copied together first."""
    dtype, x = _dtype_code(x), x.contiguous()
    out = torch.empty_like(x)
    size = x.shape[-1]
    norm = getattr(module("model_ops/rms_norm.cu", backend, check=check), RMS_NORM_RUNGS[rung])
    norm(x, residual, weight.contiguous(), out, x.numel() // max(size, 1), size, eps, dtype)
    return out


@implements("rope")
def rope(backend, x, cos, sin, *, rung=2, check=False):
    dtype = _dtype_code(x)
    if x.numel() == 0:
        return
    num_tokens, num_heads, head_dim = x.shape
    # From the first number that turns to the last: launchers take tensors without gaps, and the gaps here are rows of
    # other heads, which the kernel steps over.
    span = (num_tokens - 1) * x.stride(0) + num_heads * head_dim
    rotate = getattr(module("model_ops/rope.cu", backend, check=check), ROPE_RUNGS[rung])
    rotate(x.as_strided((span,), (1,)), cos, sin, num_tokens, num_heads, head_dim, x.stride(0), dtype)


@implements("silu_mul")
def silu_mul(backend, gate_up, *, rung=2, check=False):
    dtype, gate_up = _dtype_code(gate_up), gate_up.contiguous()
    size = gate_up.shape[-1] // 2
    out = gate_up.new_empty(*gate_up.shape[:-1], size)
    gate = getattr(module("model_ops/silu_mul.cu", backend, check=check), SILU_MUL_RUNGS[rung])
    gate(gate_up, out, gate_up.numel() // max(2 * size, 1), size, dtype)
    return out


@implements("embedding")
def embedding(backend, table, token_ids, *, check=False):
    out = table.new_empty(len(token_ids), table.shape[1])
    row_bytes = table.shape[1] * table.element_size()
    module("model_ops/embedding.cu", backend, check=check).embedding(
        table, token_ids.long().contiguous(), out, len(token_ids), len(table), row_bytes
    )
    return out
