"""The memory of the paged cache: copying blocks, storing new keys and values, collecting pages. Any dtype will do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter

from torch import Tensor

from yaie.kernels import paged
from yaie.kernels.ops import checks
from yaie.kernels.ops.checks import require, shape
from yaie.kernels.ops.launching import Family, Launching


class Memory(ABC):
    @abstractmethod
    def copy_blocks(self, key_cache: Tensor, value_cache: Tensor, block_mapping: Tensor) -> None:
        """Copy whole blocks inside the pool, in place: keys and values, in all layers that are given.

        Args:
            key_cache, value_cache: `[num_layers, num_blocks, block_size, num_kv_heads, head_dim]`, or one layer.
            block_mapping: `[num_pairs, 2]`, int32 or int64: source and destination of each copy. They run in no
                particular order, so no destination may be named twice or be a source.
        """

    @abstractmethod
    def reshape_and_cache(
        self, key: Tensor, value: Tensor, key_cache: Tensor, value_cache: Tensor, slot_mapping: Tensor
    ) -> None:
        """Store the keys and values of new tokens in their slots (KV append), in place, in the dtype of the cache.

        Args:
            key, value: `[num_tokens, num_kv_heads, head_dim]`, any floating dtype, also views with gaps.
            key_cache, value_cache: `[num_blocks, block_size, num_kv_heads, head_dim]`, contiguous: one layer.
            slot_mapping: `[num_tokens]`, int32 or int64: slot `s` is row `s % block_size` of block `s // block_size`;
                -1 stores nothing (padding). Slots must differ; this is not checked.
        """

    @abstractmethod
    def gather_pages(self, cache: Tensor, block_table: Tensor, context_len: int) -> Tensor:
        """Collect the first `context_len` tokens of a sequence from its pages.

        Args:
            cache: `[num_blocks, block_size, num_kv_heads, head_dim]`, keys or values of one layer.
            block_table: `[max_blocks]`, int32 or int64; entries beyond the context may be anything.

        Returns:
            `[context_len, num_kv_heads, head_dim]`, a copy.
        """


class Torch(Family, Memory):
    def copy_blocks(self, key_cache, value_cache, block_mapping):
        sources, destinations = block_mapping.long().unbind(dim=1)
        for cache in (key_cache, value_cache):
            layers = cache if cache.ndim == 5 else cache[None]
            layers[:, destinations] = layers[:, sources]

    def reshape_and_cache(self, key, value, key_cache, value_cache, slot_mapping):
        if key.dtype != key_cache.dtype:
            key, value = key.to(key_cache.dtype), value.to(key_cache.dtype)
        keys, values, slots = key_cache.flatten(0, 1), value_cache.flatten(0, 1), slot_mapping.long()
        # On a CPU torch looks at every index anyhow, so padding is looked for only when it has complained.
        if not (slots.is_cuda and bool((slots < 0).any())):
            try:
                keys.index_copy_(0, slots, key)
                values.index_copy_(0, slots, value)
                return
            except IndexError:
                pass
        real = slots >= 0
        keys[slots[real]], values[slots[real]] = key[real], value[real]

    def gather_pages(self, cache, block_table, context_len):
        return paged.gather_pages(cache, block_table, context_len)


class Kernels(Launching, Memory):
    STEP_FILES = "memory/gather_pages.cu", "memory/reshape_and_cache.cu"

    def copy_blocks(self, key_cache, value_cache, block_mapping):
        num_layers = key_cache.shape[0] if key_cache.ndim == 5 else 1
        num_blocks, block_size = key_cache.shape[-4:-2]
        self.launch["memory/copy_blocks.cu", "copy_blocks_2_vectors"](
            key_cache,
            value_cache,
            block_mapping.long().contiguous(),
            len(block_mapping),
            num_layers,
            num_blocks,
            block_size * token_bytes(key_cache),
        )

    def reshape_and_cache(self, key, value, key_cache, value_cache, slot_mapping):
        # A launcher takes addresses: it sees neither dtypes nor strides.
        self.launch["memory/reshape_and_cache.cu", "reshape_and_cache"](
            key.to(key_cache.dtype).contiguous(),
            value.to(value_cache.dtype).contiguous(),
            key_cache,
            value_cache,
            slot_mapping.long().contiguous(),
            len(slot_mapping),
            token_bytes(key_cache),
        )

    def gather_pages(self, cache, block_table, context_len):
        out = cache.new_empty(context_len, *cache.shape[2:])
        self.launch["memory/gather_pages.cu", "gather_pages"](
            cache, block_table.long().contiguous(), out, context_len, cache.shape[1], token_bytes(cache)
        )
        return out


def token_bytes(cache: Tensor) -> int:
    """Bytes of one token's keys (or values) in one layer."""
    return cache.shape[-2] * cache.shape[-1] * cache.element_size()


# --- checks -------------------------------------------------------------------------------------------------


def check_copy_blocks(key_cache: Tensor, value_cache: Tensor, block_mapping: Tensor) -> None:
    checks.caches(key_cache, value_cache, ndims=(4, 5))
    checks.devices(key_cache, block_mapping=block_mapping)
    checks.integers("block_mapping", block_mapping)
    require(
        block_mapping.ndim == 2 and block_mapping.shape[1] == 2,
        f"block_mapping must be [num_pairs, 2] (source, destination), got {shape(block_mapping)}",
    )
    num_blocks = key_cache.shape[-4]
    sources, destinations = block_mapping.t().tolist() if len(block_mapping) else ([], [])
    for pair in zip(sources, destinations, strict=True):
        inside = all(0 <= block < num_blocks for block in pair)
        require(inside, f"pair {pair} is outside the pool of {num_blocks} blocks")
    repeated = [block for block, count in Counter(destinations).items() if count > 1]
    require(not repeated, f"blocks {repeated} are the destination of several copies")
    both = set(sources) & set(destinations)
    require(not both, f"blocks {both} are source and destination")


def check_reshape_and_cache(
    key: Tensor, value: Tensor, key_cache: Tensor, value_cache: Tensor, slot_mapping: Tensor
) -> None:
    checks.caches(key_cache, value_cache)
    expected = (slot_mapping.numel(), *key_cache.shape[2:])
    require(
        slot_mapping.ndim == 1 and key.shape == expected and value.shape == expected,
        f"key and value must be [num_tokens={slot_mapping.numel()}, num_kv_heads={key_cache.shape[2]}, "
        f"head_dim={key_cache.shape[3]}] for slot_mapping [num_tokens], got {shape(key)}, {shape(value)} and "
        f"{shape(slot_mapping)}",
    )
    checks.integers("slot_mapping", slot_mapping)
    checks.devices(key_cache, key=key, value=value, slot_mapping=slot_mapping)
    if len(slot_mapping):
        num_slots = key_cache.shape[0] * key_cache.shape[1]
        smallest, largest = (int(slot) for slot in slot_mapping.aminmax())
        inside = smallest >= -1 and largest < num_slots
        require(inside, f"slots must lie in 0..{num_slots - 1} (or be -1), got {smallest}..{largest}")


def check_gather_pages(cache: Tensor, block_table: Tensor, context_len: int) -> None:
    checks.caches(cache, cache)
    require(block_table.ndim == 1, f"block_table must be [max_blocks], got {shape(block_table)}")
    checks.pages(block_table[None], [context_len], [0], cache)
