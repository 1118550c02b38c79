"""The memory operations of the paged cache by the kernels of `csrc/memory/`: bytes move, so every dtype will do."""

from __future__ import annotations

import torch
from torch import Tensor

from yaie.kernels.native import implements, module


@implements("copy_blocks")
def copy_blocks(backend, key_cache, value_cache, block_mapping):
    num_layers = key_cache.shape[0] if key_cache.ndim == 5 else 1
    num_blocks, block_size = key_cache.shape[-4:-2]
    module("memory/copy_blocks.cu", backend).copy_blocks_2_vectors(
        key_cache,
        value_cache,
        block_mapping.long().contiguous(),
        len(block_mapping),
        num_layers,
        num_blocks,
        block_size * token_bytes(key_cache),
    )


def reshape_and_cache(
    backend: str, key: Tensor, value: Tensor, key_cache: Tensor, value_cache: Tensor, slot_mapping: Tensor
) -> None:
    """Store the keys and values of new tokens in their slots of one layer of the pool: call the kernel.

    A launcher takes addresses. It sees neither dtypes nor strides, so everything must be as it expects before it is
    called: keys and values in the dtype of the cache, all tensors contiguous, slots int64. (The caches are contiguous
    already, and all shapes have been checked.)

    Args:
        backend: "cuda" or "emulator", for `module`.
        key, value: `[num_tokens, num_kv_heads, head_dim]`, any floating dtype, perhaps views with gaps.
        key_cache, value_cache: `[num_blocks, block_size, num_kv_heads, head_dim]`.
        slot_mapping: `[num_tokens]`, int32 or int64; -1 for padding, which the kernel skips.

    Given: `module("memory/reshape_and_cache.cu", backend)` has the launcher `reshape_and_cache(key, value, key_cache,
    value_cache, slot_mapping, num_tokens, token_bytes)`; `token_bytes(cache)` is the size of a token's keys in bytes.
    """
    kernels = module("memory/reshape_and_cache.cu", backend)
    kernels.reshape_and_cache(
        key.to(key_cache.dtype).contiguous(),
        value.to(value_cache.dtype).contiguous(),
        key_cache,
        value_cache,
        slot_mapping.long().contiguous(),
        len(slot_mapping),
        token_bytes(key_cache),
    )


# Looked up when it is called, so that a solved exercise runs.
implements("reshape_and_cache")(lambda *arguments: reshape_and_cache(*arguments))


@implements("gather_pages")
def gather_pages(backend, cache, block_table, context_len):
    block_size, num_kv_heads, head_dim = cache.shape[1:]
    out = cache.new_empty(context_len, num_kv_heads, head_dim)
    module("memory/gather_pages.cu", backend).gather_pages(
        cache, block_table.long().contiguous(), out, context_len, block_size, token_bytes(cache)
    )
    return out


def token_bytes(cache: torch.Tensor) -> int:
    """Bytes of one token's keys (or values) in one layer."""
    return cache.shape[-2] * cache.shape[-1] * cache.element_size()
