"""What the checks of several families share: they raise ValueErrors that name what was wrong and what was expected."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def shape(tensor: Tensor) -> list[int]:
    return list(tensor.shape)


def heads(num_heads: int, num_kv_heads: int) -> None:
    divides = num_kv_heads > 0 and num_heads % num_kv_heads == 0
    require(divides, f"num_kv_heads={num_kv_heads} must divide num_heads={num_heads}")


def devices(first: Tensor, **others: Tensor) -> None:
    for name, tensor in others.items():
        require(tensor.device == first.device, f"{name} is on {tensor.device}, expected {first.device}")


def integers(name: str, tensor: Tensor) -> None:
    require(tensor.dtype in (torch.int32, torch.int64), f"{name} must be int32 or int64, got {tensor.dtype}")


def caches(key_cache: Tensor, value_cache: Tensor, ndims: tuple[int, ...] = (4,)) -> None:
    """One layer of the pool, or also all of them."""
    require(
        key_cache.ndim in ndims and key_cache.shape == value_cache.shape and key_cache.dtype == value_cache.dtype,
        "caches must be alike, [num_blocks, block_size, num_kv_heads, head_dim]"
        f"{' or with num_layers in front' if 5 in ndims else ''}, got {key_cache.dtype} {shape(key_cache)} and "
        f"{value_cache.dtype} {shape(value_cache)}",
    )
    require(key_cache.is_contiguous() and value_cache.is_contiguous(), "caches must be contiguous")
    devices(key_cache, value_cache=value_cache)


def lengths(name: str, given: Sequence[int] | Tensor, num_seqs: int) -> list[int]:
    """Lengths as a list, of which there must be `num_seqs`."""
    given = given.tolist() if isinstance(given, Tensor) else list(given)
    are_integers = len(given) == num_seqs and all(isinstance(n, int) for n in given)
    require(are_integers, f"{name} must be {num_seqs} integers, got {given}")
    return given


def pages(
    block_tables: Tensor, context_lens: Sequence[int] | Tensor, query_lens: Sequence[int] | Tensor | None, cache: Tensor
) -> tuple[list[int], list[int]]:
    """Every sequence's pages exist and hold its queries; the lengths as lists."""
    require(block_tables.ndim == 2, f"block_tables must be [num_seqs, max_blocks], got {shape(block_tables)}")
    integers("block_tables", block_tables)
    num_seqs, max_blocks = block_tables.shape
    num_blocks, block_size = cache.shape[:2]
    context_lens = lengths("context_lens", context_lens, num_seqs)
    query_lens = [1] * num_seqs if query_lens is None else lengths("query_lens", query_lens, num_seqs)
    for s, (context_len, query_len) in enumerate(zip(context_lens, query_lens, strict=True)):
        require(
            0 <= query_len <= context_len <= max_blocks * block_size,
            f"sequence {s}: context_len={context_len} must hold query_len={query_len} tokens and fit into "
            f"{max_blocks} blocks of {block_size}",
        )
    used = torch.arange(max_blocks) < torch.tensor([-(-n // block_size) for n in context_lens])[:, None]
    tables = block_tables.cpu()
    if (wrong := used & ((tables < 0) | (tables >= num_blocks))).any():
        s, entry = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"sequence {s}: entry {entry} of its block table is {int(tables[s, entry])}, outside the pool of "
            f"{num_blocks} blocks"
        )
    return context_lens, query_lens
