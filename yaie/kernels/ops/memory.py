"""The memory of the paged cache: copying blocks, storing new keys and values, collecting pages. Any dtype will do."""

from collections import Counter

from torch import Tensor

from yaie.kernels import paged
from yaie.kernels.checks import INTEGERS, Sizes, aligned_cache, indices, integer, require, writable
from yaie.kernels.ops.launching import Backend, Family, Launching, aligned, checked, run

__all__ = ["copy_blocks", "gather_pages", "reshape_and_cache"]


class Torch(Family):
    def copy_blocks(self, key_cache: Tensor, value_cache: Tensor, block_mapping: Tensor) -> None:
        """Copy whole blocks inside the pool, in place: keys and values, in all layers that are given.

        key_cache, value_cache: `[num_layers, num_blocks, block_size, num_kv_heads, head_dim]`, or one layer
        block_mapping: `[num_pairs, 2]`, int32 or int64: source and destination of each copy. They run in no particular
            order, so no destination may be named twice or be a source.
        """
        sources, destinations = block_mapping.long().unbind(dim=1)
        for cache in (key_cache, value_cache):
            layers = cache if cache.ndim == 5 else cache[None]
            layers[:, destinations] = layers[:, sources]

    def reshape_and_cache(
        self, key: Tensor, value: Tensor, key_cache: Tensor, value_cache: Tensor, slot_mapping: Tensor
    ) -> None:
        """Store the keys and values of new tokens in their slots (KV append), in place, in the dtype of the cache.

        key, value: `[num_tokens, num_kv_heads, head_dim]`, any floating dtype, also views with gaps
        key_cache, value_cache: `[num_blocks, block_size, num_kv_heads, head_dim]`, contiguous: one layer
        slot_mapping: `[num_tokens]`, int32 or int64: slot `s` is row `s % block_size` of block `s // block_size`; -1
            stores nothing (padding). Slots must differ.
        """
        if key.dtype != key_cache.dtype:
            key, value = key.to(key_cache.dtype), value.to(key_cache.dtype)
        # Views: of a cache with gaps, which has none, `flatten` would make a copy, and values would be lost.
        shape = -1, *key_cache.shape[2:]
        keys, values = key_cache.view(shape), value_cache.view(shape)
        slots = slot_mapping.long()
        # On a CPU torch looks at every index anyway, so padding is looked for only when it has complained.
        if not (slots.is_cuda and bool((slots < 0).any())):
            try:
                keys.index_copy_(0, slots, key)
                values.index_copy_(0, slots, value)
                return
            except IndexError:
                pass
        real = slots >= 0
        keys[slots[real]], values[slots[real]] = key[real], value[real]

    def gather_pages(self, cache: Tensor, block_table: Tensor, context_len: int) -> Tensor:
        """`paged.gather_pages`."""
        return paged.gather_pages(cache, block_table, context_len)


class Kernels(Launching):
    STEP_FILES = ("memory/reshape_and_cache.cu",)

    def copy_blocks(self, key_cache, value_cache, block_mapping):
        num_layers = key_cache.shape[0] if key_cache.ndim == 5 else 1
        num_blocks, block_size = key_cache.shape[-4:-2]
        sizes = num_layers, num_blocks, block_size * token_bytes(key_cache)
        pairs = block_mapping.long().contiguous()
        self.launch["memory/copy_blocks.cu", "copy_blocks_2_vectors"](key_cache, value_cache, pairs, len(pairs), *sizes)

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
        out, table = cache.new_empty(context_len, *cache.shape[2:]), block_table.long().contiguous()
        launch = self.launch["memory/gather_pages.cu", "gather_pages"]
        launch(cache, table, out, context_len, cache.shape[1], token_bytes(cache))
        return out


def token_bytes(cache: Tensor) -> int:
    """Bytes of one token's keys (or values) in one layer."""
    return cache.shape[-2] * cache.shape[-1] * cache.element_size()


@checked(Torch)
def copy_blocks(key_cache: Tensor, value_cache: Tensor, block_mapping: Tensor, *, backend: Backend = "auto") -> None:
    sizes = Sizes()
    sizes.take_caches(key_cache, value_cache, layers=True)
    sizes.take("num_pairs 2", INTEGERS, block_mapping=block_mapping)
    writable({"key_cache": key_cache, "value_cache": value_cache}, {"block_mapping": block_mapping})
    indices("block_mapping", block_mapping, sizes["num_blocks"])
    sources, destinations = block_mapping.T.tolist()
    repeated = [block for block, count in Counter(destinations).items() if count > 1]
    require(not repeated, f"blocks {repeated} are the destination of several copies")
    both = set(sources).intersection(destinations)
    require(not both, f"blocks {both} are source and destination")
    run(backend, "copy_blocks", key_cache, key_cache, value_cache, block_mapping)


@checked(Torch)
def reshape_and_cache(
    key: Tensor,
    value: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    slot_mapping: Tensor,
    *,
    backend: Backend = "auto",
) -> None:
    sizes = Sizes()
    sizes.take_caches(key_cache, value_cache)
    sizes.take("num_tokens", INTEGERS, slot_mapping=slot_mapping)
    sizes.take("num_tokens num_kv_heads head_dim", key=key, value=value)
    sizes.take("num_tokens num_kv_heads head_dim", [key.dtype], value=value)
    indices("slots", slot_mapping, sizes["num_blocks"] * sizes["block_size"], padding=-1)
    slots, counts = slot_mapping[slot_mapping >= 0].unique(return_counts=True)
    require(bool((counts == 1).all()), f"slots must differ, got {slots[counts > 1].tolist()[:8]} more than once")
    given = {"key": key, "value": value, "slot_mapping": slot_mapping}
    writable({"key_cache": key_cache, "value_cache": value_cache}, given)
    key, value = aligned(key), aligned(value)
    run(backend, "reshape_and_cache", key, key, value, key_cache, value_cache, slot_mapping)


@checked(paged)
def gather_pages(cache: Tensor, block_table: Tensor, context_len: int, *, backend: Backend = "auto") -> Tensor:
    sizes = Sizes()
    sizes.take("num_blocks block_size num_kv_heads head_dim", contiguous=True, cache=cache)
    aligned_cache("cache", cache)
    sizes.take("max_blocks", INTEGERS, block_table=block_table)
    context_len = integer("context_len", context_len)
    sizes.take_pages(block_table[None], [context_len], [0])
    return run(backend, "gather_pages", cache, cache, block_table, context_len)
