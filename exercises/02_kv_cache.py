# Exercises of lesson 02: From a KV cache to pages.
#
# Each function is the engine's, with its body taken out or a mistake put in. Write or fix it, save, check:
# `yaie.exercise("2.1").check()` in the notebook, or `yaie check 2.1` in a terminal.
# Functions that you have not written yet are filled in with the engine's own, so any order works.
# generated, text hash b834ab8224b24a63

from __future__ import annotations

from collections.abc import Sequence

from yaie.kernels import checks, kv_cache
from yaie.kernels.kv_cache import OutOfBlocksError, _positive_int


class KVCacheManager(kv_cache.KVCacheManager):
    """The engine's `KVCacheManager`. The methods below replace its own; all others are inherited."""

    # ---------- Exercise 2.1: Take blocks from a stack (about 10 minutes) ----------
    def _take_blocks(self, request_id: str, count: int) -> list[int]:
        """Take `count` blocks off the stack of free blocks: all of them, or none if there are too few. A
        block that has just been taken has one owner.

        - `request_id`: who asks. Only the error needs it.
        - `count`: how many blocks, 0 or more.
        - Returns the block ids as a list, in the order in which they came off.

        `self.free_block_list` is the stack, and its last entry comes off first. The entry of a block in
        `self.ref_counts` goes from 0 to 1. With `free_block_list` = `[5, 9, 2]`:

        | call | result | `free_block_list` afterwards |
        |---|---|---|
        | `_take_blocks("A", 2)` | `[2, 9]` | `[5]` |
        | `_take_blocks("A", 0)` | `[]` | `[5, 9, 2]` |
        | `_take_blocks("A", 4)` | raises `OutOfBlocksError` | `[5, 9, 2]` |

        After an error nothing has changed. Shorten the list itself: a shorter copy of it takes time for
        every free block.

        You may use `self._require_free(request_id, count)`: it raises the `OutOfBlocksError` if fewer than
        `count` blocks are free.
        """
        raise NotImplementedError("exercise 2.1: write this function")

    # ---------- Exercise 2.2: Allocate a block table (about 15 minutes) ----------
    def allocate_blocks(self, request_id: str, num_tokens: int, prefix_blocks: Sequence[int] = ()) -> list[int]:
        """Give a new request its block table: first the blocks of a cached prefix, if it has one, then fresh
        blocks from the stack, as many as its other tokens need.

        - `request_id`: a request that has no table yet.
        - `num_tokens`: tokens of the request, those in the prefix included; at least 1.
        - `prefix_blocks`: block ids of the prefix, full and in use. The new request shares them.
        - Returns the block ids as a list of the caller's own: changing it does not change the table.

        Blocks of 4 tokens; P holds the blocks `[3, 1]`, and block 0 is the next free one.
        `allocate_blocks("A", 9, [3, 1])` returns `[3, 1, 0]`. Afterwards:

        | what | is |
        |---|---|
        | `self.block_tables["A"]` | `[3, 1, 0]` |
        | `self.context_lens["A"]` | 9 |
        | `self.ref_counts` of the blocks 3, 1, 0 | 2, 2, 1 |

        A `ValueError` says that the request has a table or that an argument is bad, an `OutOfBlocksError`
        that too few blocks are free. After any error nothing has changed.

        You may use `_positive_int("num_tokens", num_tokens)` and
        `self._check_prefix(prefix_blocks, num_tokens)`: both raise the `ValueError` of their arguments;
        `self.blocks_needed(num_tokens)`; and `self._take_blocks(request_id, count)` of exercise 2.1.
        """
        raise NotImplementedError("exercise 2.2: write this function")

    # ---------- Exercise 2.3: From positions to slots (about 10 minutes) ----------
    def slot_mapping(self, request_id: str, start: int = 0, end: int | None = None) -> list[int]:
        """Return the slots in which the tokens at positions `start` to `end - 1` of a request lie.

        The slots number the rows of the pool, block after block: block `b` begins with slot
        `b * self.block_size`. Entry `i` of a block table names the block that holds the positions from
        `i * self.block_size` on.

        - `request_id`: a request with blocks.
        - `start`, `end`: the first position, and one past the last. Without `end`: up to the request's
          length, `self.context_lens[request_id]`.
        - Returns a list of `end - start` slots, in order of position.

        Blocks of 4 tokens; A has 6 tokens and the block table `[7, 2]`:

        | call | result |
        |---|---|
        | `slot_mapping("A")` | `[28, 29, 30, 31, 8, 9]` |
        | `slot_mapping("A", 3, 5)` | `[31, 8]` |
        | `slot_mapping("A", 0, 0)` | `[]` |
        | `slot_mapping("A", 0, 7)` | raises `ValueError` |

        It raises a `ValueError` unless `0 <= start <= end <= self.context_lens[request_id]`.

        You may use `self._table(request_id)`: the block table; a `KeyError` if the request has no blocks.
        """
        raise NotImplementedError("exercise 2.3: write this function")

    # ---------- Exercise 2.4: Fork a request (about 10 minutes) ----------
    def fork(self, parent_id: str, child_id: str) -> list[int]:
        """Start the request `child_id` with all tokens of `parent_id`, without copying a key or a value. From
        then on both refer to the same blocks.

        - Returns the child's block ids as a list of the caller's own: changing it does not change a table.

        A has 6 tokens in the blocks `[0, 1]`, each with one reference. After `fork("A", "B")`:

        | what | is |
        |---|---|
        | result | `[0, 1]` |
        | `self.block_tables` | `{"A": [0, 1], "B": [0, 1]}`, two separate lists |
        | `self.context_lens` | `{"A": 6, "B": 6}` |
        | `self.ref_counts` of the blocks 0, 1 | 2, 2 |
        | `self.free_block_list` | as before |

        A child can be forked like any other request: after `fork("B", "C")` both counts are 3.

        It raises a `KeyError` if the parent has no blocks and a `ValueError` if the child already has
        some. After an error nothing has changed.

        You may use `self._table(parent_id)`: the parent's block table itself, or the `KeyError`.
        """
        raise NotImplementedError("exercise 2.4: write this function")

    # ---------- Exercise 2.5: Copy on write (about 15 minutes) ----------
    def copy_on_write(self, request_id: str, block_index: int) -> int:
        """Make entry `block_index` of a request's block table safe to write to. Return the id of the block
        that the entry names afterwards.

        A block to which only this request refers stays. A shared one is replaced, in this request's table
        only, by a fresh block with the same keys and values in every layer.

        - `self.key_cache`, `self.value_cache`: the pool, each
          `[num_layers, num_blocks, block_size, num_heads, head_dim]`.
        - `self.ref_counts`: the number of references on each block.

        A and B both have the table `[0, 1]`, and block 2 is the next free one:

        | call | result | table of A | table of B | counts of 0, 1, 2 |
        |---|---|---|---|---|
        | (before) | | `[0, 1]` | `[0, 1]` | 2, 2, 0 |
        | `copy_on_write("B", 1)` | 2 | `[0, 1]` | `[0, 2]` | 2, 1, 1 |
        | `copy_on_write("A", 1)` | 1 | `[0, 1]` | `[0, 2]` | 2, 1, 1 |

        If a copy is needed and no block is free, it raises an `OutOfBlocksError` and has changed nothing.

        You may use `self._table(request_id)`: the block table itself, or a `KeyError`; and
        `self._take_blocks(request_id, 1)`: a list of one fresh block that has one reference, or the
        `OutOfBlocksError`.
        """
        raise NotImplementedError("exercise 2.5: write this function")
