"""The operations as functions: arguments are checked here, then the chosen backend computes.

`backend` is "torch", "cuda" or "emulator", "auto" (the kernels for tensors on a GPU, torch for all others and where the
kernels refuse), or an `Operations` object. A backend that was asked for by name and cannot do what is asked (no GPU
here, a dtype that the kernel does not take) raises `BackendError`; nothing is computed by another one instead. Every
function raises ValueError for shapes, dtypes, lengths, ids or devices that do not fit, and has changed nothing then.

Checks look at numbers (block ids, slots, lengths), and to look at numbers on a GPU the CPU has to wait for it. The
engine makes these numbers itself and calls `yaie.kernels.ops` directly.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from yaie.kernels import ops, radix_ops
from yaie.kernels import sampling as twin
from yaie.kernels.ops import (
    BackendError,
    Operations,
    attention,
    available_backends,
    checks,
    memory,
    model,
    paged_attention,
    radix,
    sampling,
)

__all__ = ["BackendError", "available_backends"]

Backend = str | Operations


def _operation(function: Callable) -> Callable:
    """Adds the contract of the operation of the same name to what a function says about itself."""
    contract = inspect.getdoc(getattr(Operations, function.__name__))
    function.__doc__ = "\n\n".join(filter(None, (contract, function.__doc__)))
    __all__.append(function.__name__)
    return function


def _run(backend: Backend, operation: str, tensor: Tensor, *arguments: Any, **more: Any) -> Any:
    """Call an operation of the backend that computes for tensors where `tensor` is."""
    if not isinstance(backend, str):
        return getattr(backend, operation)(*arguments, **more)
    name = ops.resolve(backend, tensor.is_cuda, ops.obstacle)
    if backend == "auto" and name == "cuda":
        with suppress(BackendError):  # a dtype or a shape that the kernels do not take
            return getattr(ops.operations(name), operation)(*arguments, **more)
        name = "torch"
    return getattr(ops.operations(name), operation)(*arguments, **more)


@_operation
def attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    causal: bool = True,
    seq_lens: Sequence[int] | Tensor | None = None,
    scale: float | None = None,
    backend: Backend = "auto",
) -> Tensor:
    """`seq_lens` `[num_seqs]` are the real tokens of each sequence, padding after them; they need `q_len == kv_len`.
    Padding is neither seen nor computed: its output is 0.
    """
    seq_lens = attention.check_attention_forward(query, key, value, causal, seq_lens)
    if seq_lens is None:
        return _run(backend, "attention_forward", query, query, key, value, causal, scale)
    out = torch.zeros_like(query)
    for s, n in enumerate(seq_lens):
        real = query[s : s + 1, :n], key[s : s + 1, :n], value[s : s + 1, :n]
        out[s : s + 1, :n] = _run(backend, "attention_forward", query, *real, causal, scale)
    return out


@_operation
def plan_attention(
    block_tables: Tensor,
    context_lens: Sequence[int] | Tensor,
    query_lens: Sequence[int] | Tensor | None,
    key_cache: Tensor,
    *,
    backend: Backend = "auto",
) -> Any:
    lengths = checks.pages(block_tables, context_lens, query_lens, key_cache)
    return _run(backend, "plan_attention", key_cache, block_tables, *lengths, key_cache)


@_operation
def paged_attention_forward(
    query: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    block_tables: Tensor,
    context_lens: Sequence[int] | Tensor,
    *,
    query_lens: Sequence[int] | Tensor | None = None,
    scale: float | None = None,
    plan: Any = None,
    backend: Backend = "auto",
) -> Tensor:
    """Here the query may also be `[num_seqs, q_len, num_heads, head_dim]`: the queries of a sequence come first in its
    row (`query_lens`; None: all `q_len`), and rows beyond them give 0. A plan has been checked by `plan_attention`.
    """
    lengths = paged_attention.check_paged_attention_forward(
        query, key_cache, value_cache, block_tables, context_lens, query_lens, plan
    )

    def run(flat: Tensor) -> Tensor:
        pages = key_cache, value_cache, block_tables, *lengths
        return _run(backend, "paged_attention_forward", flat, flat, *pages, scale, plan)

    if query.ndim == 3 or plan is not None or query.shape[1] == 0:
        return run(query.flatten(0, -3)).view(query.shape)
    real = torch.arange(query.shape[1], device=query.device) < torch.tensor(lengths[1], device=query.device)[:, None]
    out = torch.zeros_like(query)
    out[real] = run(query[real])
    return out


@_operation
def copy_blocks(key_cache: Tensor, value_cache: Tensor, block_mapping: Tensor, *, backend: Backend = "auto") -> None:
    memory.check_copy_blocks(key_cache, value_cache, block_mapping)
    _run(backend, "copy_blocks", key_cache, key_cache, value_cache, block_mapping)


@_operation
def reshape_and_cache(
    key: Tensor,
    value: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    slot_mapping: Tensor,
    *,
    backend: Backend = "auto",
) -> None:
    memory.check_reshape_and_cache(key, value, key_cache, value_cache, slot_mapping)
    _run(backend, "reshape_and_cache", key, key, value, key_cache, value_cache, slot_mapping)


@_operation
def gather_pages(cache: Tensor, block_table: Tensor, context_len: int, *, backend: Backend = "auto") -> Tensor:
    memory.check_gather_pages(cache, block_table, context_len)
    return _run(backend, "gather_pages", cache, cache, block_table, context_len)


@_operation
def rms_norm(
    x: Tensor, weight: Tensor, eps: float, *, residual: Tensor | None = None, backend: Backend = "auto"
) -> Tensor:
    model.check_rms_norm(x, weight, residual)
    return _run(backend, "rms_norm", x, x, weight, eps, residual)


@_operation
def rope(x: Tensor, cos: Tensor, sin: Tensor, *, backend: Backend = "auto") -> None:
    model.check_rope(x, cos, sin)
    _run(backend, "rope", x, x, cos, sin)


@_operation
def silu_mul(gate_up: Tensor, *, backend: Backend = "auto") -> Tensor:
    model.check_silu_mul(gate_up)
    return _run(backend, "silu_mul", gate_up, gate_up)


@_operation
def embedding(table: Tensor, token_ids: Tensor, *, backend: Backend = "auto") -> Tensor:
    model.check_embedding(table, token_ids)
    return _run(backend, "embedding", table, table, token_ids)


@_operation
def match_prefixes(
    tree: radix_ops.FlatTree, tokens: Tensor, lengths: Sequence[int] | Tensor, *, backend: Backend = "auto"
) -> radix_ops.Positions:
    lengths = radix.check_match_prefixes(tree, tokens, lengths)
    return _run(backend, "match_prefixes", tokens, tree, tokens, lengths)


@_operation
def choose_victims(
    last_used: Tensor, sizes: Tensor, evictable: Tensor, num_tokens: int, *, backend: Backend = "auto"
) -> Tensor:
    radix.check_choose_victims(last_used, sizes, evictable, num_tokens)
    return _run(backend, "choose_victims", last_used, last_used, sizes, evictable, num_tokens)


@_operation
def sample(
    logits: Tensor,
    temperature: twin.Parameter = 1.0,
    top_p: twin.Parameter = 1.0,
    top_k: int | Sequence[int] | Tensor = -1,
    generator: twin.Generators = None,
    *,
    seeds: Sequence[int] | None = None,
    steps: Sequence[int] | None = None,
    backend: Backend = "auto",
    **more: Any,
) -> Tensor:
    """Here bad values and rows with NaN, +inf or nothing but -inf raise a ValueError that names the row."""
    rows, settings = twin.checked(logits, temperature, top_p, top_k, **more)
    sampling.check_seeds(len(rows), generator, seeds, steps)
    how = {"generator": generator, "min_p": settings.min_p, "seeds": seeds, "steps": steps}
    return _run(backend, "sample", rows, rows, *settings[:3], **how).view(logits.shape[:-1])
