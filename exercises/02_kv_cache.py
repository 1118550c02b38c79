# Exercises of lesson 02: From a KV cache to pages.
#
# Each function below belongs to the engine; its body has been taken out. Write it, save the file, check it:
# `yaie.exercise("2.1").check()` in the notebook, or `yaie check 2.1` in a terminal.
# Functions that you have not written yet are filled in with the engine's own, so any order works.
# generated, text hash f1de49f5166c938d

from __future__ import annotations

from collections.abc import Sequence

from yaie.kernels import kv_cache
from yaie.kernels.kv_cache import _positive_int


class KVCacheManager(kv_cache.KVCacheManager):
    """The engine's `KVCacheManager`. The methods below replace its own; all others are inherited."""

    # ---------- Exercise 2.1: Take blocks from a stack (about 10 minutes) ----------
    def _take_blocks(self, request_id: str, count: int) -> list[int]:
        """Take `count` block ids off the end of `self.free_block_list`, set the reference count of each to 1, and
        return the ids in the order in which they came off. If there are too few, raise and change nothing. With
        `free_block_list` = [5, 9, 2], a count of 2 gives [2, 9] and leaves [5].
        """
        raise NotImplementedError("exercise 2.1: write this function")

    # ---------- Exercise 2.2: Allocate a block table (about 15 minutes) ----------
    def allocate_blocks(self, request_id: str, num_tokens: int, prefix_blocks: Sequence[int] = ()) -> list[int]:
        """Give a new request its block table: first the blocks of a cached prefix that it shares (`prefix_blocks`),
        then fresh ones for the rest. With blocks of 4, a request of 9 tokens that shares the blocks [3, 1] needs
        one fresh block; if that is 0, its table is [3, 1, 0].
        """
        raise NotImplementedError("exercise 2.2: write this function")

    # ---------- Exercise 2.3: From positions to slots (about 10 minutes) ----------
    def slot_mapping(self, request_id: str, start: int = 0, end: int | None = None) -> list[int]:
        """Say in which slot of the pool each token of a request lies. With blocks of 4 and the block table [7, 2],
        position 3 is row 3 of block 7, which is slot 31, and position 4 is row 0 of block 2, which is slot 8.
        """
        raise NotImplementedError("exercise 2.3: write this function")

    # ---------- Exercise 2.4: Fork a request (about 10 minutes) ----------
    def fork(self, parent_id: str, child_id: str) -> list[int]:
        """Start a child request with all tokens of its parent, without copying keys or values. If the parent has the
        block table [0, 1] and 6 tokens, the child gets a table [0, 1] of its own and 6 tokens, and each of the two
        blocks has one more reference.
        """
        raise NotImplementedError("exercise 2.4: write this function")

    # ---------- Exercise 2.5: Copy on write (about 15 minutes) ----------
    def copy_on_write(self, request_id: str, block_index: int) -> int:
        """Before a request writes into a block that others share, give it a copy of that block. If A and B both have
        the table [0, 1] and the free block 2 is next, `copy_on_write("B", 1)` copies block 1 to block 2, makes the
        table of B [0, 2], and returns 2. A block that B alone holds stays as it is.
        """
        raise NotImplementedError("exercise 2.5: write this function")
