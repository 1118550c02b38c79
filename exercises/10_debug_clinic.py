"""Exercises of lesson 10: Debug clinic: the bug hunt.

Write the functions that have no body, mend those with a mistake in them, save the file, check:
`yaie.exercise("10.1").check()` in the notebook, or `yaie check 10.1` in a terminal.
Functions that you have not written yet are filled in with the engine's own, so any order works.
"""
# generated, text hash de394f5a5eee1cf6

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from yaie.engine import prefix_cache, scheduler
from yaie.engine.prefix_cache import PrefixMatch
from yaie.engine.request import Request, Status
from yaie.kernels import kv_cache, radix_tree
from yaie.kernels.kv_cache import _positive_int
from yaie.kernels.radix_tree import as_int_array, match_prefix


# ---------- Exercise 10.1: Case 1, the fork that forgot its end: expose it (about 4 minutes) ----------
def floats_per_block() -> int:
    """Case 1: a size of a block, in float32 numbers, at which the broken `copy_blocks_kernel` does not copy all of it.

    A cache of one layer and two blocks is filled with 0, 1, 2, ...; block 0 is copied to block 1, one number at a time
    (`copy_blocks_1_elements`).

    Returns:
        how many numbers a block has, 1 to 4096
    """
    raise NotImplementedError("exercise 10.1: write this function")


# ---------- Exercise 10.3: Case 2, the tree that promised too much: expose it (about 4 minutes) ----------
def stored_and_asked() -> tuple[list[int], list[int]]:
    """Case 2: two prompts for which the broken `find_shared_prefixes` promises more than they share.

    The first prompt is inserted into an empty `RadixTree`, then the second is looked up.

    Returns:
        two lists of at most 8 token ids, neither of them empty
    """
    raise NotImplementedError("exercise 10.3: write this function")


class RadixTree(radix_tree.RadixTree):
    """The engine's `RadixTree`. The methods below replace its own; everything else is inherited."""

    # ---------- Exercise 10.4: Case 2: mend it (about 5 minutes) ----------
    # There is a mistake in this function.
    def find_shared_prefixes(self, token_ids: Sequence[int]) -> tuple[list[str], int]:
        """The requests that share the longest known prefix of `token_ids`, and the length of that prefix.

        Returns (ids, length): every one of the ids begins with `token_ids[:length]`, no request begins with one token
        more, and they come in the order of insertion. Nothing in common is ([], 0).

        A prompt that is known in full is matched in full. Who asks in order to skip computing must ask for
        `token_ids[:-1]`: the last token has to be computed in any case, because its logits give the next token.
        """
        node, _, length = match_prefix(self.root, as_int_array(token_ids, "token_ids"))
        return (self._ids_below(node), len(token_ids)) if length else ([], 0)


# ---------- Exercise 10.5: Case 3, the request that ended in NaN: expose it (about 4 minutes) ----------
def gate_value() -> float:
    """Case 3: a number that the broken `silu_mul_kernel` cannot work with.

    One row with this number as the gate and 1.0 as up, in float32. silu(z) = z * sigmoid(z) is finite for every finite
    z.

    Returns:
        a finite number between -1000 and 1000
    """
    raise NotImplementedError("exercise 10.5: write this function")


# ---------- Exercise 10.7: Case 4, right after the start and wrong at night: expose it (about 4 minutes) ----------
def block_table() -> list[int]:
    """Case 4: a block table along which the broken `gather_pages_kernel` collects the wrong tokens.

    The pool has 8 blocks of 2 tokens with one number each: block b holds 2 b and 2 b + 1. All tokens of the blocks in
    the table are collected.

    Returns:
        1 to 8 block ids from 0 to 7, each at most once, in the order of the request's positions
    """
    raise NotImplementedError("exercise 10.7: write this function")


# ---------- Exercise 10.9: Case 5, tested with 64 x 64 only: expose it (about 4 minutes) ----------
def rows_and_columns() -> tuple[int, int]:
    """Case 5: the shape of a matrix that the broken `transpose_tile_kernel` does not transpose.

    Returns:
        rows and columns, each from 1 to 70
    """
    raise NotImplementedError("exercise 10.9: write this function")


# ---------- Exercise 10.11: Case 6, the padding that wrote: expose it (about 4 minutes) ----------
def slots_of_new_tokens() -> list[int]:
    """Case 6: where new tokens go, so that the broken `reshape_and_cache_kernel` writes to memory that is not its own.

    The pool has 4 slots. A token with a negative slot belongs to nobody and is not stored (padding, see csrc).

    Returns:
        1 to 4 slots, one per token, each from -4 to 3; no slot from 0 on twice
    """
    raise NotImplementedError("exercise 10.11: write this function")


# ---------- Exercise 10.13: Case 7, the step that failed half-way: expose it (about 6 minutes) ----------
def pool_and_tokens() -> tuple[int, int, int]:
    """Case 7: a pool that runs out of blocks in the middle of the broken `append_tokens`.

    In a pool with blocks of 4 tokens, "parent" gets blocks for `prompt` tokens and "child" is forked from it. Then
    `append_tokens("child", more)` must either do all of its work or raise `OutOfBlocksError` and change nothing.

    Returns:
        num_blocks (1 to 8), prompt (at least 1; the pool must hold it), more (1 to 32)
    """
    raise NotImplementedError("exercise 10.13: write this function")


class KVCacheManager(kv_cache.KVCacheManager):
    """The engine's `KVCacheManager`. The methods below replace its own; everything else is inherited."""

    # ---------- Exercise 10.14: Case 7: mend it (about 6 minutes) ----------
    # There is a mistake in this function.
    def append_tokens(self, request_id: str, num_tokens: int = 1) -> list[int]:
        """Make room for `num_tokens` more tokens and return their slots, in order.

        A partly filled last block that others share is copied first, because the new tokens will be written
        into it.

        Raises:
            KeyError: the request has no blocks.
            ValueError: `num_tokens` is not a positive integer.
            OutOfBlocksError: fewer blocks are free than needed. After any error nothing has changed.
        """
        table = self._table(request_id)
        _positive_int("num_tokens", num_tokens)
        context_len = self.context_lens[request_id]
        num_new_blocks = self.blocks_needed(context_len + num_tokens) - len(table)
        copies_tail = context_len % self.block_size != 0 and self.ref_counts[table[-1]] > 1
        self._require_free(request_id, num_new_blocks)
        if copies_tail:
            self.copy_on_write(request_id, len(table) - 1)
        table.extend(self._take_blocks(request_id, num_new_blocks))
        self.context_lens[request_id] = context_len + num_tokens
        return self.slot_mapping(request_id, context_len)


# ---------- Exercise 10.15: Case 8, the favourite that was thrown out: expose it (about 6 minutes) ----------
def prompts_in_order() -> list[list[int]]:
    """Case 8: prompts after which the broken cache with the policy "lfu" evicts another token than the right one.

    Each prompt is looked up (`match`) in a `PrefixCache` with pages of one token and then published (`insert`), one
    after the other. Then one token is evicted: of a leaf that fewest lookups have found; among equals, the one not used
    for longest.

    Returns:
        1 to 10 prompts of 1 to 4 token ids
    """
    raise NotImplementedError("exercise 10.15: write this function")


class PrefixCache(prefix_cache.PrefixCache):
    """The engine's `PrefixCache`. The methods below replace its own; everything else is inherited."""

    # ---------- Exercise 10.16: Case 8: mend it (about 5 minutes) ----------
    # There is a mistake in this function.
    def match(self, tokens: Sequence[int], namespace: Hashable = None) -> PrefixMatch:
        """The longest cached prefix of `tokens`, in whole pages, with its slots and the node to lock.

        Everything on the way counts as used now. If the match ends inside an edge, the edge is split there, so that a
        lock on `node` protects the matched tokens and no more.

        To admit a request, match `tokens[:-1]`. An exact repeat is cached to its last token, and a request with nothing
        left to forward gets no logits and so no next token.

        Returns PrefixMatch(0, no slots, root) if nothing matches. Lock `node` before the next `evict`.
        """
        tokens = radix_tree.as_int_array(tokens, "tokens")
        position = radix_tree.match_prefix(self._root_of(namespace), tokens, self.page_size)
        if position.length == 0:
            return PrefixMatch(0, np.empty(0, dtype=np.int64), self.root)
        node = radix_tree.cut_at(position, self.page_size)
        path = radix_tree.path_to(node)
        self._touch(path)
        return PrefixMatch(position.length, np.concatenate([step.payload.slots for step in path]), node)


# ---------- Exercise 10.17: Case 9, the sum that is always right: expose it (about 4 minutes) ----------
def numbers_to_add() -> int:
    """Case 9: how many numbers the broken `reduce_2_kernel` must add up to be seen reading beyond the last of them.

    Its sum is always right.

    Returns:
        1 to 4096
    """
    raise NotImplementedError("exercise 10.17: write this function")


# ---------- Exercise 10.19: Case 10, the answer that stood still: expose it (about 6 minutes) ----------
def arrivals() -> list[tuple[int, int]]:
    """Case 10: requests that make the broken `Scheduler.schedule` leave a decode without its token.

    Pages have 4 tokens, a step computes at most 8 tokens, all requests may run at once, and each generates 6 tokens. A
    running request that waits only for its next token must get it in every step.

    Returns:
        1 to 4 requests: (step in which it arrives, 0 to 8; tokens of its prompt, 1 to 40)
    """
    raise NotImplementedError("exercise 10.19: write this function")


class Scheduler(scheduler.Scheduler):
    """The engine's `Scheduler`. The methods below replace its own; everything else is inherited."""

    # ---------- Exercise 10.20: Case 10: mend it (about 6 minutes) ----------
    # There is a mistake in this function.
    def schedule(self) -> dict[Request, int]:
        """The requests of the next step, and how many of its tokens each computes in it.

        All of them are running and have pages for these tokens. The sum of the tokens is at most
        `max_num_batched_tokens`.
        """
        batch: dict[Request, int] = {}
        budget = self.max_num_batched_tokens
        self.preempted = []
        for request in sorted(self.running, key=lambda request: request.is_decode):  # decodes first
            if request.status is not Status.RUNNING:
                continue  # preempted for one before it
            while not self.pages.grow(request):
                victim = self.preempt()
                budget += batch.pop(victim, 0)
                if victim is request:
                    break
            else:
                if num_tokens := self.chunk_size(request, budget):
                    batch[request] = num_tokens
                    budget -= num_tokens
        if budget and not self.preempted:  # else the pages are needed by those who run
            for request in self.admit(budget):
                batch[request] = self.chunk_size(request, budget)
                budget -= batch[request]
        return batch


# ---------- Exercise 10.21: Case 11, right up to 32: expose it (about 6 minutes) ----------
def scores_of_keys() -> list[float]:
    """Case 11: scores of keys for which attention with the broken `take_scores` gives the wrong mean of the values.

    One query; key j has the score that you give and the value j. A tile has 32 keys.

    Returns:
        1 to 100 scores from -20 to 20
    """
    raise NotImplementedError("exercise 10.21: write this function")


# ---------- Exercise 10.23: Case 12, the race that is nearly always won: expose it (about 5 minutes) ----------
def numbers_that_race() -> int:
    """Case 12: how many numbers the broken `reduce_3_kernel` must add up for two of its threads to race.

    Its sum is nearly always right.

    Returns:
        1 to 4096
    """
    raise NotImplementedError("exercise 10.23: write this function")
