"""The memory operations of the paged cache by the kernels of `csrc/memory/`: bytes move, so every dtype will do."""

from __future__ import annotations

import torch

from yaie.kernels.native import implements, module


@implements("copy_blocks")
def copy_blocks(backend, key_cache, value_cache, block_mapping):
    num_layers = key_cache.shape[0] if key_cache.ndim == 5 else 1
    num_blocks = key_cache.shape[-4]
    block_bytes = key_cache[..., 0, :, :, :].numel() // num_layers * key_cache.element_size()
    module("memory/copy_blocks.cu", backend).copy_blocks_2_vectors(
        key_cache,
        value_cache,
        block_mapping.long().contiguous(),
        len(block_mapping),
        num_layers,
        num_blocks,
        block_bytes,
    )


@implements("reshape_and_cache")
def reshape_and_cache(backend, key, value, key_cache, value_cache, slot_mapping):
    key, value = (x.to(key_cache.dtype).contiguous() for x in (key, value))
    module("memory/reshape_and_cache.cu", backend).reshape_and_cache(
        key,
        value,
        key_cache,
        value_cache,
        slot_mapping.long().contiguous(),
        len(slot_mapping),
        _token_bytes(key_cache),
    )


@implements("gather_pages")
def gather_pages(backend, cache, block_table, context_len):
    block_size, num_kv_heads, head_dim = cache.shape[1:]
    out = cache.new_empty(context_len, num_kv_heads, head_dim)
    module("memory/gather_pages.cu", backend).gather_pages(
        cache, block_table.long().contiguous(), out, context_len, block_size, _token_bytes(cache)
    )
    return out


def _token_bytes(cache: torch.Tensor) -> int:
    """Bytes of one token's keys (or values) in one layer."""
    return cache.shape[-2] * cache.shape[-1] * cache.element_size()
