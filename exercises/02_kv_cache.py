"""Exercises of lesson 02: From a KV cache to pages.

Each function below belongs to the engine; its body has been taken out. Write it, save the file, check it:
`yaie.exercise("2.1").check()` in the notebook, or `yaie check 2.1` in a terminal.
Functions that you have not written yet are filled in with the engine's own, so any order works.
"""
# generated, text hash 213fbc8c03fb0bf1

from __future__ import annotations

from collections.abc import Sequence

from yaie.kernels import kv_cache
from yaie.kernels.kv_cache import _positive_int


class KVCacheManager(kv_cache.KVCacheManager):
    """The engine's `KVCacheManager`. The methods below replace its own; everything else is inherited."""

    # ---------- Exercise 2.1: Take blocks from a stack (about 10 minutes) ----------
    def _take_blocks(self, request_id: str, count: int) -> list[int]:
        """Move `count` blocks off the end of the free list, each with one reference; all of them or none.

        Args:
            request_id: who asks for them; only the error needs it.
            count: how many; 0 gives an empty list.

        Returns:
            Their ids in the order in which they came off: from a `free_block_list` of `[5, 9, 2]`, a count of 2 gives
            `[2, 9]` and leaves `[5]`. The count in `ref_counts` of each becomes 1; the blocks are not touched.

        The list itself is shortened at its end, which takes the same time however long it is.

        Given: `self._require_free(request_id, count)` raises the error (`kv_cache.OutOfBlocksError`) if fewer than
        `count` blocks are free.

        Raises:
            OutOfBlocksError: fewer than `count` blocks are free. Nothing has changed then.
        """
        raise NotImplementedError("exercise 2.1: write this function")

    # ---------- Exercise 2.2: Allocate a block table (about 15 minutes) ----------
    def allocate_blocks(self, request_id: str, num_tokens: int, prefix_blocks: Sequence[int] = ()) -> list[int]:
        """Give a new request a block table with room for `num_tokens` tokens.

        Args:
            request_id: a request without a block table.
            num_tokens: tokens of the request in all, those in `prefix_blocks` included; at least 1.
            prefix_blocks: full blocks already in use (a cached prefix) that become the start of the table.
                They are shared: the request takes one more reference on each.

        Returns:
            The block ids of the request in order, a copy of `block_tables[request_id]`.

        The other blocks come off the end of `free_block_list` with a reference count of 1; their old contents
        stay (no zeroing). `context_lens[request_id]` becomes `num_tokens`.

        Given: `_positive_int("num_tokens", num_tokens)` and `self._check_prefix(prefix_blocks, num_tokens)` raise the
        errors of their arguments, `self.blocks_needed(num_tokens)` rounds up, and `self._take_blocks(request_id,
        count)` takes blocks off the list, or raises and takes none.

        Raises:
            ValueError: the request already has a table, `num_tokens` is not a positive integer, or
                `prefix_blocks` names a block twice, a free block, or more tokens than `num_tokens`.
            OutOfBlocksError: fewer blocks are free than needed. After any error nothing has changed.
        """
        raise NotImplementedError("exercise 2.2: write this function")

    # ---------- Exercise 2.3: From positions to slots (about 10 minutes) ----------
    def slot_mapping(self, request_id: str, start: int = 0, end: int | None = None) -> list[int]:
        """Where the tokens at positions `start .. end - 1` of a request lie in the pool.

        Slot `s` is row `s % block_size` of block `s // block_size`, so the token at position `p` lies in the
        block that entry `p // block_size` of the block table names, at row `p % block_size`.

        Args:
            request_id: a request with blocks.
            start: first position.
            end: one past the last position; `None` means the request's context length.

        Returns:
            `end - start` slots, in order of position. With blocks of 4 and the block table `[7, 2]`, the positions 3
            and 4 lie in the slots 7 * 4 + 3 = 31 and 2 * 4 + 0 = 8.

        Given: `self._table(request_id)` is the request's block table, or raises the KeyError.

        Raises:
            KeyError: the request has no blocks.
            ValueError: not `0 <= start <= end <= context_lens[request_id]`.
        """
        raise NotImplementedError("exercise 2.3: write this function")

    # ---------- Exercise 2.4: Fork a request (about 10 minutes) ----------
    def fork(self, parent_id: str, child_id: str) -> list[int]:
        """Start request `child_id` with the tokens of `parent_id`, without copying any of them.

        The child gets its own table with the same block ids, so each of those blocks has one more reference.
        Both may go on: whoever first writes to a shared block copies that block (`copy_on_write`).

        Returns:
            The block ids of the child in order, a copy of `block_tables[child_id]`.

        Given: `self._table(parent_id)` is the parent's block table itself, or raises the KeyError.

        Raises:
            KeyError: the parent has no blocks.
            ValueError: the child already has blocks. After any error nothing has changed.
        """
        raise NotImplementedError("exercise 2.4: write this function")

    # ---------- Exercise 2.5: Copy on write (about 15 minutes) ----------
    def copy_on_write(self, request_id: str, block_index: int) -> int:
        """Make entry `block_index` of the request's block table safe to write, and return its block id.

        A block that only this request refers to (`ref_counts` is 1) stays. A shared one is replaced, in this
        table only, by a fresh block with the same keys and values in every layer; the shared block loses one
        reference.

        Given: `self._table(request_id)`, the block table itself, and `self._take_blocks(request_id, 1)`, a list of one
        fresh block with one reference. The pool is `self.key_cache` and `self.value_cache`, each `[num_layers,
        num_blocks, block_size, num_heads, head_dim]`.

        Raises:
            KeyError: the request has no blocks.
            OutOfBlocksError: a copy is needed and no block is free. Nothing has changed then.
        """
        raise NotImplementedError("exercise 2.5: write this function")
