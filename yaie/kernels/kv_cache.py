"""The paged KV cache: one pool of fixed-size blocks, shared by all requests through block tables.

Who owns what. The manager owns the pool and the free list. A block leaves the free list with one reference and returns
to it when its last reference is dropped. References are held by

* requests: one for every block in `block_tables[request_id]`, taken by `allocate_blocks`, `append_tokens` and `fork`,
  dropped by `free_blocks`;
* the prefix cache: taken by `retain` when it keeps a finished page for later requests, dropped by `release` when it
  evicts that page.

A block with more than one reference is never written: `append_tokens` and `write` first replace it by a private copy
(copy on write). Every call either succeeds or raises and changes nothing: KeyError for a request without blocks,
OutOfBlocksError where fewer blocks are free than needed, ValueError for arguments that do not fit.

Source: vLLM (Kwon et al., "Efficient Memory Management for Large Language Model Serving with PagedAttention", SOSP
2023).
"""

import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch

from yaie.kernels import checks

_positive_int = partial(checks.integer, least=1)


class OutOfBlocksError(RuntimeError):
    """The pool has fewer free blocks than a request needs. Nothing was changed by the call that raised it."""

    def __init__(self, request_id: str, needed: int, available: int):
        super().__init__(f"not enough free blocks for request {request_id!r}: needs {needed}, {available} free")
        self.request_id = request_id
        self.needed = needed
        self.available = available


class KVCacheBlock(NamedTuple):
    """Views of one block of the pool, `[block_size, num_heads, head_dim]`; of several layers, with these in front."""

    block_id: int
    keys: torch.Tensor
    values: torch.Tensor


@dataclass(frozen=True, eq=False)
class _BlockViews(Sequence):
    """`manager.blocks`: views of a block are made when asked for, so a pool of many blocks stays cheap."""

    key_cache: torch.Tensor
    value_cache: torch.Tensor

    def __len__(self) -> int:
        return self.key_cache.shape[1]

    def __getitem__(self, block_id: int) -> KVCacheBlock:
        if not checks.is_integer(block_id):
            raise TypeError(f"a block is named by an integer, got {checks.describe(block_id)}")
        if not 0 <= block_id < len(self):
            raise IndexError(f"block {block_id} is outside the pool of {len(self)} blocks")
        layer = 0 if self.key_cache.shape[0] == 1 else slice(None)
        return KVCacheBlock(block_id, self.key_cache[layer, block_id], self.value_cache[layer, block_id])


class KVCacheManager:
    """Hands out blocks of a pooled KV cache and remembers which request owns which.

    Attributes:
        key_cache, value_cache: the pool, `[num_layers, num_blocks, block_size, num_heads, head_dim]`, KV heads only.
        layers: for each layer its keys and its values, views of the pool.
        block_tables: for each request its block ids, in order of the token positions that they hold.
        context_lens: for each request the number of tokens that its blocks have been asked to hold.
        free_block_list: a stack of unused block ids; the next one handed out is the last.
        ref_counts: for each block the number of its references, 0 exactly when it is free.
        cache_refs: how many of those references were taken with `retain`.
    """

    def __init__(
        self,
        num_blocks: int,
        block_size: int,
        num_heads: int,
        head_dim: int,
        dtype: torch.dtype = torch.float16,
        num_layers: int = 1,
        device: torch.device | str | None = None,
    ):
        self.num_blocks = _positive_int("num_blocks", num_blocks)
        self.block_size = _positive_int("block_size", block_size)
        self.num_heads = _positive_int("num_heads", num_heads)
        self.head_dim = _positive_int("head_dim", head_dim)
        self.num_layers = _positive_int("num_layers", num_layers)
        floating = isinstance(dtype, torch.dtype) and dtype.is_floating_point
        checks.require(floating, "dtype must be a floating torch.dtype", dtype)
        checks.device(device)
        shape = (self.num_layers, self.num_blocks, self.block_size, self.num_heads, self.head_dim)
        num_bytes = math.prod(shape) * dtype.itemsize
        pool = f"num_blocks={num_blocks} of block_size={block_size}: there is no memory for a pool of {num_bytes} bytes"
        there_are = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")  # torch finds out for itself on a GPU, but
        on_cpu = torch.device(device or "cpu").type == "cpu"  # a system that overcommits lends any number to a CPU
        checks.require(2 * num_bytes < (there_are if on_cpu else 2**47), pool)
        try:
            self.key_cache = torch.zeros(shape, dtype=dtype, device=device)
            self.value_cache = torch.zeros(shape, dtype=dtype, device=device)
        except RuntimeError as error:
            raise ValueError(f"{pool} ({error})") from error
        self.layers = list(zip(self.key_cache.unbind(0), self.value_cache.unbind(0), strict=True))
        self.dtype, self.device = dtype, self.key_cache.device
        self.blocks = _BlockViews(self.key_cache, self.value_cache)
        self.block_tables: dict[str, list[int]] = {}
        self.context_lens: dict[str, int] = {}
        # A stack, used at its end: list.pop(0) would move every other id. Reversed, so block 0 goes first.
        self.free_block_list: list[int] = list(reversed(range(self.num_blocks)))
        self.ref_counts: list[int] = [0] * self.num_blocks
        self.cache_refs: list[int] = [0] * self.num_blocks

    @property
    def num_free_blocks(self) -> int:
        return len(self.free_block_list)

    def blocks_needed(self, num_tokens: int) -> int:
        """Number of blocks that hold `num_tokens` tokens: the quotient, rounded up."""
        return -(-num_tokens // self.block_size)

    # --- requests -------------------------------------------------------------------------------------------

    def allocate_blocks(self, request_id: str, num_tokens: int, prefix_blocks: Sequence[int] = ()) -> list[int]:
        """Give a new request a block table with room for `num_tokens` tokens in all; return a copy of it.

        `prefix_blocks` are full blocks already in use (a cached prefix) that become the start of the table. They are
        shared: the request takes one more reference on each. The others come off the free list; nothing is zeroed.

        ValueError: the request has a table already, or `prefix_blocks` names a block twice, a free block, or more
        tokens than `num_tokens`.
        """
        checks.request_id("request_id", request_id)
        if request_id in self.block_tables:
            raise ValueError(f"request {request_id!r} already has blocks; free them or use append_tokens")
        num_tokens = _positive_int("num_tokens", num_tokens)
        prefix_blocks = self._check_prefix(prefix_blocks, num_tokens)
        num_new_blocks = self.blocks_needed(num_tokens) - len(prefix_blocks)
        new_blocks = self._take_blocks(request_id, num_new_blocks)
        for block_id in prefix_blocks:
            self.ref_counts[block_id] += 1
        self.block_tables[request_id] = [*prefix_blocks, *new_blocks]
        self.context_lens[request_id] = num_tokens
        return list(self.block_tables[request_id])

    def append_tokens(self, request_id: str, num_tokens: int = 1) -> list[int]:
        """Make room for `num_tokens` more tokens and return their slots, in order.

        A partly filled last block that others share is copied first, because the new tokens will be written into it.
        """
        table = self._table(request_id)
        num_tokens = _positive_int("num_tokens", num_tokens)
        context_len = self.context_lens[request_id]
        num_new_blocks = self.blocks_needed(context_len + num_tokens) - len(table)
        copies_tail = context_len % self.block_size != 0 and self.ref_counts[table[-1]] > 1
        self._require_free(request_id, num_new_blocks + copies_tail)
        if copies_tail:
            self.copy_on_write(request_id, len(table) - 1)
        table.extend(self._take_blocks(request_id, num_new_blocks))
        self.context_lens[request_id] = context_len + num_tokens
        return self.slot_mapping(request_id, context_len)

    def fork(self, parent_id: str, child_id: str) -> list[int]:
        """Start request `child_id` with the tokens of `parent_id`, without copying any of them; return a copy of its
        table. ValueError: it has one already.

        The tables have the same block ids, so each of those blocks has one more reference. Both requests may go on:
        whoever first writes to a shared block copies that block (`copy_on_write`).
        """
        table = self._table(parent_id)
        checks.request_id("child_id", child_id)
        if child_id in self.block_tables:
            raise ValueError(f"request {child_id!r} already has blocks; fork needs a new request id")
        for block_id in table:
            self.ref_counts[block_id] += 1
        self.block_tables[child_id] = list(table)
        self.context_lens[child_id] = self.context_lens[parent_id]
        return list(table)

    def copy_on_write(self, request_id: str, block_index: int) -> int:
        """Make entry `block_index` of the request's block table safe to write, and return its block id.

        A block that only this request refers to stays. A shared one is replaced, in this table only, by a fresh block
        with the same keys and values in every layer; the shared block loses one reference.
        """
        table = self._table(request_id)
        shared = table[checks.integer("block_index", block_index, 0, len(table) - 1)]
        if self.ref_counts[shared] == 1:
            return shared
        (private,) = self._take_blocks(request_id, 1)
        self.key_cache[:, private] = self.key_cache[:, shared]
        self.value_cache[:, private] = self.value_cache[:, shared]
        table[block_index] = private
        self.ref_counts[shared] -= 1
        return private

    def free_blocks(self, request_id: str) -> list[int]:
        """Drop the request's table and references; return the blocks that no other holder has (now free)."""
        table = self._table(request_id)
        del self.block_tables[request_id], self.context_lens[request_id]
        return self._drop_references(table)

    def slot_mapping(self, request_id: str, start: int = 0, end: int | None = None) -> list[int]:
        """The slots of the tokens at positions `start .. end - 1` of a request (None: to its last), in order.

        Slot `s` is row `s % block_size` of block `s // block_size`. ValueError unless
        `0 <= start <= end <= context_lens[request_id]`.
        """
        table = self._table(request_id)
        context_len = self.context_lens[request_id]
        end = context_len if end is None else end
        if type(start) is not int or type(end) is not int:  # numpy's, or none
            start, end = checks.integers("start and end", [start, end], least=-checks.LARGEST)
        if not 0 <= start <= end <= context_len:
            raise ValueError(f"positions {start}..{end} are outside request {request_id!r} of {context_len} tokens")
        size = self.block_size
        return [table[position // size] * size + position % size for position in range(start, end)]

    # --- contents -------------------------------------------------------------------------------------------

    def write(
        self, request_id: str, keys: torch.Tensor, values: torch.Tensor, *, start: int = 0, layer: int = 0
    ) -> None:
        """Store `[num_tokens, num_heads, head_dim]` keys and values for the positions from `start` on, in one layer, in
        the dtype of the pool. Shared blocks that would be touched are copied first."""
        table = self._table(request_id)
        checks.integer("layer", layer, 0, self.num_layers - 1)
        sizes = checks.Sizes(num_heads=self.num_heads, head_dim=self.head_dim)
        sizes.take("num_tokens num_heads head_dim", checks.FLOATS, keys=keys, values=values)
        num_tokens = sizes["num_tokens"]
        checks.require(num_tokens > 0, "keys and values must be [num_tokens >= 1, num_heads, head_dim], got no tokens")
        start = checks.integer("start", start, -checks.LARGEST)
        # Copies: views of the pool itself may be given. Made before anything changes, for whatever torch refuses.
        keys, values = (x.to(self.device, self.dtype, copy=True) for x in (keys, values))
        self.slot_mapping(request_id, start, start + num_tokens)  # refuses positions outside the request
        touched = range(start // self.block_size, self.blocks_needed(start + num_tokens))
        shared = [index for index in touched if self.ref_counts[table[index]] > 1]
        self._require_free(request_id, len(shared))
        for index in shared:
            self.copy_on_write(request_id, index)
        slots = self._slots(request_id, start, start + num_tokens)
        self.key_cache[layer].flatten(0, 1)[slots] = keys
        self.value_cache[layer].flatten(0, 1)[slots] = values

    def read(
        self, request_id: str, *, start: int = 0, end: int | None = None, layer: int = 0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Copies of the keys and values at positions `start .. end - 1`, each `[num_tokens, num_heads, head_dim]`."""
        checks.integer("layer", layer, 0, self.num_layers - 1)
        slots = self._slots(request_id, start, end)
        return self.key_cache[layer].flatten(0, 1)[slots], self.value_cache[layer].flatten(0, 1)[slots]

    # --- the prefix cache -----------------------------------------------------------------------------------

    def retain(self, block_ids: Iterable[int]) -> None:
        """Take one reference on each block for the prefix cache: it will outlive the request that filled it."""
        block_ids = self._check_in_use("block_ids", block_ids)
        for block_id in block_ids:
            self.ref_counts[block_id] += 1
            self.cache_refs[block_id] += 1

    def release(self, block_ids: Iterable[int]) -> list[int]:
        """Drop one reference that `retain` took on each block; return the blocks that became free."""
        block_ids = self._check_in_use("block_ids", block_ids)
        for block_id, count in Counter(block_ids).items():
            if count > self.cache_refs[block_id]:  # further references are another owner's
                raise ValueError(f"block {block_id} released {count}x, but retained {self.cache_refs[block_id]}x")
        for block_id in block_ids:
            self.cache_refs[block_id] -= 1
        return self._drop_references(block_ids)

    def replace_prefix(self, request_id: str, prefix_blocks: Sequence[int]) -> list[int]:
        """Swap a request's first blocks for others with the same contents (the caller vouches for that), such as those
        that the prefix cache has already; return those that became free."""
        table = self._table(request_id)
        prefix_blocks = self._check_prefix(prefix_blocks, self.context_lens[request_id])
        if repeated := set(prefix_blocks) & set(table[len(prefix_blocks) :]):
            raise ValueError(f"blocks {sorted(repeated)} hold later tokens of request {request_id!r}")
        replaced = table[: len(prefix_blocks)]
        for block_id in prefix_blocks:
            self.ref_counts[block_id] += 1
        table[: len(prefix_blocks)] = prefix_blocks
        return self._drop_references(replaced)

    def check_integrity(self) -> None:
        """Raise `AssertionError` unless every block is either free or in use by exactly its references."""
        holders = Counter(block_id for table in self.block_tables.values() for block_id in table)
        free = Counter(self.free_block_list)
        outside = (free.keys() | holders.keys()) - set(range(self.num_blocks))
        assert not outside, f"blocks outside the pool are in use or on the free list: {outside}"
        for block_id, count in enumerate(self.ref_counts):
            expected = holders[block_id] + self.cache_refs[block_id]
            assert count == expected, f"block {block_id}: count {count}, references {expected}"
            assert free[block_id] == (count == 0), f"block {block_id}: {count} references, {free[block_id]}x free"
        assert self.block_tables.keys() == self.context_lens.keys(), "tables and context_lens name different requests"
        for request_id, table in self.block_tables.items():
            needed = self.blocks_needed(self.context_lens[request_id])
            assert len(table) == needed, f"request {request_id!r} has {len(table)} blocks and needs {needed}"
            assert len(set(table)) == needed, f"request {request_id!r} has a block twice: {table}"

    # --- shared steps ---------------------------------------------------------------------------------------

    def _table(self, request_id: str) -> list[int]:
        try:
            return self.block_tables[request_id]
        except (KeyError, TypeError):
            raise KeyError(f"request {request_id!r} has no blocks: never allocated, or freed") from None

    def _slots(self, request_id: str, start: int, end: int | None) -> torch.Tensor:
        return torch.tensor(self.slot_mapping(request_id, start, end), dtype=torch.int64, device=self.device)

    def _require_free(self, request_id: str, count: int) -> None:
        if count > len(self.free_block_list):
            raise OutOfBlocksError(request_id, count, len(self.free_block_list))

    def _take_blocks(self, request_id: str, count: int) -> list[int]:
        """Move `count` blocks off the end of the free list, each with one reference: all of them, or OutOfBlocksError.

        Returns their ids in the order in which they came off. It takes the same time however long the list is.
        """
        self._require_free(request_id, count)
        taken = [self.free_block_list.pop() for _ in range(count)]
        for block_id in taken:
            self.ref_counts[block_id] = 1
        return taken

    def _drop_references(self, block_ids: Sequence[int]) -> list[int]:
        """Drop one reference per entry; blocks left without any go back, the first to be handed out first."""
        for block_id in block_ids:
            self.ref_counts[block_id] -= 1
        freed = [block_id for block_id in dict.fromkeys(block_ids) if self.ref_counts[block_id] == 0]
        self.free_block_list.extend(reversed(freed))
        return freed

    def _check_in_use(self, name: str, block_ids: Iterable[int]) -> list[int]:
        block_ids = checks.integers(name, block_ids, most=self.num_blocks - 1)
        for block_id in block_ids:
            if self.ref_counts[block_id] == 0:
                raise ValueError(f"block {block_id} is free: its contents may be overwritten at any time")
        return block_ids

    def _check_prefix(self, prefix_blocks: Sequence[int], num_tokens: int) -> list[int]:
        prefix_blocks = self._check_in_use("prefix_blocks", prefix_blocks)
        if len(set(prefix_blocks)) != len(prefix_blocks):
            raise ValueError(f"prefix_blocks names a block twice: {list(prefix_blocks)}")
        if (num_cached := len(prefix_blocks) * self.block_size) > num_tokens:
            raise ValueError(f"prefix blocks of {num_cached} tokens do not fit into a request of {num_tokens}")
        return prefix_blocks
