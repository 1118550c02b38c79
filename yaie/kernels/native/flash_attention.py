"""Flash attention of `csrc/flash_attention/`: prefill over contiguous keys and values, for a GPU or the emulator.

`flash_attention` calls one rung with sequences that lie one after the other (packed). `attention_forward` is the
operation of `yaie.kernels.api`, with a batch of rectangles; it takes the best rung that can do the dtype and head_dim.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from yaie.kernels import native
from yaie.kernels.backends import BackendError

RUNGS = {
    1: "flash_attention_1_naive",
    2: "flash_attention_2_tiles",
    3: "flash_attention_3_registers",
    4: "flash_attention_4_tensor_cores",
}
LARGEST_HEAD_DIM = 256
MOST_BLOCKS = 65535  # of a grid in its second and third dimension: heads and sequences


def best_rung(dtype: torch.dtype, head_dim: int) -> int:
    """The fastest rung that computes this: tensor cores take 16-bit types, the other rungs float32 as well.

    Raises:
        BackendError: no rung does, naming what it would need.
    """
    if dtype not in native.DTYPES:
        raise BackendError(f"flash attention takes float32, float16 and bfloat16, not {dtype}")
    if head_dim % 8 or not 8 <= head_dim <= LARGEST_HEAD_DIM:
        raise BackendError(
            f"flash attention takes a head_dim that is a multiple of 8 up to {LARGEST_HEAD_DIM}, not {head_dim}"
        )
    return 3 if dtype == torch.float32 else 4


def flash_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seqlens_q: torch.Tensor,
    cu_seqlens_k: torch.Tensor,
    max_q_len: int,
    max_kv_len: int,
    *,
    causal: bool = True,
    scale: float | None = None,
    rung: int | None = None,
    backend: str = "cuda",
    check: bool = False,
) -> torch.Tensor:
    """Attention of packed sequences of different lengths.

    Args:
        query: `[total_q, num_heads, head_dim]`, the sequences one after the other.
        key, value: `[total_k, num_kv_heads, head_dim]`, of query's dtype.
        cu_seqlens_q, cu_seqlens_k: `[num_seqs + 1]`, int32: where the rows of each sequence begin, and the total.
        max_q_len, max_kv_len: the longest sequence, in queries and in keys. Given, because reading them from
            the tensors would make the CPU wait for the GPU.
        causal: each query sees keys up to its own position; the queries are the last ones of their sequence.
        scale: factor of the scores; None means `1 / sqrt(head_dim)`.
        rung: which kernel (1 to 4); None takes the best, or one with a part of the learner's.
        backend, check: as for `yaie.kernels.native.module`.

    Returns:
        Like query. A query that sees no key gets 0.

    Raises:
        BackendError: a dtype or head_dim that no rung, or not the given one, can do.
    """
    if key.dtype != query.dtype or value.dtype != query.dtype:
        raise BackendError(f"flash attention takes one dtype, got {query.dtype}, {key.dtype} and {value.dtype}")
    total_q, num_heads, head_dim = query.shape
    best = best_rung(query.dtype, head_dim)
    rung = native.learners_rung("flash_attention", RUNGS, best) if rung is None else rung
    if rung > best:
        raise BackendError(f"rung {rung} of flash attention cannot do {query.dtype}; rung {best} can")
    num_seqs = len(cu_seqlens_q) - 1
    if max(num_seqs, num_heads) > MOST_BLOCKS:
        raise BackendError(f"flash attention takes up to {MOST_BLOCKS} sequences and heads, not {num_seqs}")
    scale = head_dim**-0.5 if scale is None else scale
    if rung == 4 and scale <= 0:  # it looks for the largest score before it scales
        query, scale = (-query, -scale) if scale < 0 else (torch.zeros_like(query), 1.0)
    name = RUNGS[rung]
    out = torch.empty_like(query, memory_format=torch.contiguous_format)
    tensors = [*(_aligned(tensor) for tensor in (query, key, value)), out]
    lengths: list = [cu_seqlens_q, cu_seqlens_k, num_seqs, max_q_len]
    if rung == 1:  # the only one that keeps scores in memory
        tensors.append(query.new_empty(total_q, num_heads, max_kv_len, dtype=torch.float32))
        lengths.append(max_kv_len)
    launch = getattr(native.module(f"flash_attention/{name}.cu", backend, check=check), name)
    launch(*tensors, *lengths, num_heads, key.shape[1], head_dim, scale, int(causal), native.DTYPES[query.dtype])
    return out


def _aligned(tensor: torch.Tensor) -> torch.Tensor:
    """Contiguous, and at an address from which 16 bytes can be read at once."""
    tensor = tensor.contiguous()
    return tensor if tensor.data_ptr() % 16 == 0 else tensor.clone()


@native.implements("attention_forward")
def attention_forward(
    backend: str,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    causal: bool,
    seq_lens: Sequence[int] | None,
    scale: float | None,
) -> torch.Tensor:
    """`yaie.kernels.api.attention_forward` by the best rung; arguments have been checked there."""
    num_seqs, q_len = query.shape[:2]
    kv_len = key.shape[1]
    if query.numel() == 0 or kv_len == 0:
        return torch.zeros_like(query)
    if seq_lens is None:
        packed = [tensor.flatten(0, 1) for tensor in (query, key, value)]
        cu_q, cu_k = (_multiples(n, num_seqs, query.device) for n in (q_len, kv_len))
    else:  # leave the padding out
        packed = [torch.cat([t[s, :n] for s, n in enumerate(seq_lens)]) for t in (query, key, value)]
        cu_q = cu_k = torch.tensor([0, *seq_lens], dtype=torch.int32).cumsum(0, dtype=torch.int32).to(query.device)
    flat = flash_attention(*packed, cu_q, cu_k, q_len, kv_len, causal=causal, scale=scale, backend=backend)
    if seq_lens is None:
        return flat.view(query.shape)
    out = torch.zeros_like(query)
    for s, rows in enumerate(flat.split(list(seq_lens))):
        out[s, : len(rows)] = rows
    return out


def _multiples(step: int, count: int, device: torch.device) -> torch.Tensor:
    """`[0, step, 2 * step, ..., count * step]`, int32."""
    return torch.arange(0, (count + 1) * step, max(step, 1), dtype=torch.int32, device=device)
