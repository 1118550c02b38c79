# Exercises of lesson 10: Debug clinic: the bug hunt.
#
# Each function is the engine's, with its body taken out or a mistake put in. Write or fix it, save, check:
# `yaie.exercise("10.1").check()` in the notebook, or `yaie check 10.1` in a terminal.
# Functions that you have not written yet are filled in with the engine's own, so any order works.
# generated, text hash 34fca115d47d8dc9

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from yaie.engine import prefix_cache, scheduler
from yaie.engine.prefix_cache import PrefixMatch
from yaie.engine.request import Request, Status
from yaie.kernels import kv_cache, radix_tree
from yaie.kernels.kv_cache import OutOfBlocksError, _positive_int
from yaie.kernels.radix_tree import as_int_array, match_prefix


# ---------- Exercise 10.1: Case 1, the fork that forgot its end: expose it (about 4 minutes) ----------
def floats_per_block() -> int:
    """Return a number of floats per block at which the broken `copy_blocks_kernel` does not copy all of a
    block: an int from 1 to 4096.

    A cache of one layer and two blocks holds 0, 1, 2, ...; block 0 is copied to block 1, one float per
    unit, as `copy_blocks_1_elements` does it.

    | floats per block | block 1 afterwards |
    |---|---|
    | 64 | right: 0 to 63 |
    | yours | not a copy of block 0 |
    """
    raise NotImplementedError("exercise 10.1: write this function")


# ---------- Exercise 10.3: Case 2, the tree that promised too much: expose it (about 4 minutes) ----------
def stored_and_asked() -> tuple[list[int], list[int]]:
    """Return two prompts for which the broken `find_shared_prefixes` promises more than they share: the
    prompt that is stored, then the one that is asked for. Each is a list of 1 to 8 token ids.

    The first is inserted into an empty `RadixTree` as request "a", then the second is looked up.

    | stored | asked | the broken one says |
    |---|---|---|
    | [5, 6] | [5, 6] | (["a"], 2), which is right |
    | [5, 6] | [7, 8] | ([], 0), which is right |
    """
    raise NotImplementedError("exercise 10.3: write this function")


class RadixTree(radix_tree.RadixTree):
    """The engine's `RadixTree`. The methods below replace its own; all others are inherited."""

    # ---------- Exercise 10.4: Case 2: fix it (about 5 minutes) ----------
    # There is a mistake in this function.
    # Fix `find_shared_prefixes`: the requests that share the longest known prefix of `token_ids`, and the
    # length of that prefix.
    #
    # The result is (ids, length). Every one of the ids begins with `token_ids[:length]`, and no request
    # begins with one token more. The ids come in the order of insertion. With nothing in common the
    # result is ([], 0).
    #
    # | stored | asked | right | as found |
    # |---|---|---|---|
    # | a: [1, 9] | [1, 2] | (["a"], 1) | (["a"], 2) |
    # | a: [1, 2, 3] | [1, 2] | (["a"], 2) | the same |
    # | a: [5] | [1, 2] | ([], 0) | the same |
    # | a: [1, 2, 3, 4] | [1, 2, 3, 7, 8] | (["a"], 3) | (["a"], 5) |
    def find_shared_prefixes(self, token_ids: Sequence[int]) -> tuple[list[str], int]:
        """The requests that share the longest known prefix of `token_ids`, and the length of that prefix.

        Returns (ids, length): every one of the ids begins with `token_ids[:length]`, no request begins with one token
        more, and they come in the order of insertion. Nothing in common is ([], 0). A known prompt is matched in full.
        """
        node, _, length = match_prefix(self.root, as_int_array(token_ids, "token_ids"))
        return (self._ids_below(node), len(token_ids)) if length else ([], 0)


# ---------- Exercise 10.5: Case 3, the request that ended in NaN: expose it (about 4 minutes) ----------
def gate_value() -> float:
    """Return a finite number from -1000 to 1000 that the broken `silu_mul_kernel` cannot work with.

    One row is computed in float32, with your number as the gate and 1.0 as up. The right result is
    z * sigmoid(z), which is finite for every finite z.

    | gate | the broken kernel says |
    |---|---|
    | -5.0 | -0.033, which is right |
    | 20.0 | 20.0, which is right |
    """
    raise NotImplementedError("exercise 10.5: write this function")


# ---------- Exercise 10.7: Case 4, right after the start and wrong at night: expose it (about 4 minutes) ----------
def block_table() -> list[int]:
    """Return a block table along which the broken `gather_pages_kernel` collects the wrong tokens: 1 to 8
    block ids from 0 to 7, each at most once, in the order of the request's positions.

    The pool has 8 blocks of 2 tokens with one number each: block b holds 2 b and 2 b + 1. All tokens of
    the blocks in the table are collected.

    | block table | the broken kernel collects |
    |---|---|
    | [3, 4] | 6, 7, 8, 9, which is right |
    | [0, 1, 2] | 0, 1, 2, 3, 4, 5, which is right |
    """
    raise NotImplementedError("exercise 10.7: write this function")


# ---------- Exercise 10.9: Case 5, tested with 64 x 64 only: expose it (about 4 minutes) ----------
def rows_and_columns() -> tuple[int, int]:
    """Return the shape of a matrix that the broken `transpose_tile_kernel` does not transpose: rows and
    columns, each an int from 1 to 70.

    | rows, columns | the broken kernel |
    |---|---|
    | 64, 64 | is right |
    | 70, 70 | is right |
    """
    raise NotImplementedError("exercise 10.9: write this function")


# ---------- Exercise 10.11: Case 6, the padding that wrote: expose it (about 4 minutes) ----------
def slots_of_new_tokens() -> list[int]:
    """Return slots with which the broken `reshape_and_cache_kernel` writes to memory outside the pool: 1
    to 4 ints from -4 to 3, one for each new token. No slot from 0 on may be named twice.

    The pool has 4 slots. A token with a negative slot is padding and must not be stored.

    | slots | the pool afterwards |
    |---|---|
    | [2, 0] | token 2 in slot 0, token 1 in slot 2, which is right |
    """
    raise NotImplementedError("exercise 10.11: write this function")


# ---------- Exercise 10.13: Case 7, the step that failed half-way: expose it (about 6 minutes) ----------
def pool_and_tokens() -> tuple[int, int, int]:
    """Return the numbers of a case in which the broken `append_tokens` raises `OutOfBlocksError` after it
    has changed something: num_blocks (1 to 8), prompt (at least 1; it must fit into the pool), and more
    (1 to 32).

    The pool has num_blocks blocks of 4 tokens. "parent" gets blocks for `prompt` tokens, and "child" is
    forked from it. Then `append_tokens("child", more)` must either do all of its work, or raise and
    change nothing.

    | num_blocks, prompt, more | blocks of "child" | of them shared | free blocks |
    |---|---|---|---|
    | 8, 6, 3 | 3 | 1 | 4, which is right |
    """
    raise NotImplementedError("exercise 10.13: write this function")


class KVCacheManager(kv_cache.KVCacheManager):
    """The engine's `KVCacheManager`. The methods below replace its own; all others are inherited."""

    # ---------- Exercise 10.14: Case 7: fix it (about 6 minutes) ----------
    # There is a mistake in this function.
    # Fix `append_tokens`: make room for `num_tokens` more tokens of a request and return their slots, or
    # raise `OutOfBlocksError` and change nothing.
    #
    # A last block that is partly filled and shared is copied first, because the new tokens are written
    # into it. The copy takes a block, as every new block of the table does.
    #
    # Blocks of 4 tokens; "child" is a fork of "parent" and appends:
    #
    # | num_blocks, tokens of "parent", appended | right | as found |
    # |---|---|---|
    # | 3, 1, 4 | 2 blocks, none shared, 0 free | the same |
    # | 2, 1, 4 | OutOfBlocksError; 1 block, shared, 1 free | OutOfBlocksError, but 0 are free |
    # | 2, 4, 1 | 2 blocks, 1 shared, 0 free | the same |
    #
    # You may use `self._require_free(request_id, count)`: it raises if fewer blocks are free.
    def append_tokens(self, request_id: str, num_tokens: int = 1) -> list[int]:
        """Make room for `num_tokens` more tokens and return their slots, in order.

        A partly filled last block that others share is copied first, because the new tokens will be written into it.
        """
        table = self._table(request_id)
        num_tokens = _positive_int("num_tokens", num_tokens)
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
    """Return prompts after which the broken cache with the policy "lfu" evicts another token than it
    should: 1 to 10 lists of 1 to 4 token ids.

    One after the other, each prompt is looked up (`match`) in a `PrefixCache` with pages of one token
    and then published (`insert`). Then one token is evicted. It should be a leaf that the fewest
    lookups have found; among equals, the one that was not used for longest.

    | prompts | evicted |
    |---|---|
    | [[1], [2]] | 1: neither was ever found, and 1 is older. Both agree |
    """
    raise NotImplementedError("exercise 10.15: write this function")


class PrefixCache(prefix_cache.PrefixCache):
    """The engine's `PrefixCache`. The methods below replace its own; all others are inherited."""

    # ---------- Exercise 10.16: Case 8: fix it (about 5 minutes) ----------
    # There is a mistake in this function.
    # Fix `match`: each lookup that finds something counts as one hit for every node on its path. What
    # else `match` does stays as it is: it returns the longest cached prefix, and marks its nodes as used
    # now.
    #
    # You may use `self._use(path, hits=0)`: it marks the nodes of a path as used now, and adds `hits`
    # to the hits of each. `insert` calls it as well, which is no hit.
    #
    # After each of these prompts was looked up and inserted, an LFU cache evicts:
    #
    # | prompts | right | as found |
    # |---|---|---|
    # | [1], [2] | [1] | the same |
    # | [1], [1], [2] | [2] | [1] |
    # | [1], [1], [1], [2], [2], [1] | [2] | the same |
    def match(self, tokens: Sequence[int] | np.ndarray) -> PrefixMatch:
        """The longest cached prefix of `tokens`, in whole pages, with its pages and the node to lock.

        Everything on the way counts as used now, and as hit once more. If the match ends inside an edge, the edge is
        split there, so that a lock on `node` protects the matched tokens and no more. No match is an empty one at the
        root. Lock `node` before the next `evict`.
        """
        position = self.find(tokens)
        node = radix_tree.cut_at(position, self.page_size)
        path = radix_tree.path_to(node)
        self._use(path)
        return PrefixMatch(position.length, np.concatenate([step.payload.pages for step in path]), node)


# ---------- Exercise 10.17: Case 9, the sum that is always right: expose it (about 4 minutes) ----------
def numbers_to_add() -> int:
    """Return how many numbers the broken `reduce_2_kernel` must add up to be caught reading beyond the
    last of them: an int from 1 to 4096.

    The numbers are 1, 2, ..., n in a tensor that ends with the last of them, and the check mode of the
    emulator watches. The sum itself is always right.

    | numbers | sum | read beyond the end |
    |---|---|---|
    | 256 | 32,896, which is right | nothing |
    """
    raise NotImplementedError("exercise 10.17: write this function")


# ---------- Exercise 10.19: Case 10, the answer that stood still: expose it (about 6 minutes) ----------
def arrivals() -> list[tuple[int, int]]:
    """Return requests with which the broken `Scheduler.schedule` leaves a decode without its token: 1 to 4
    pairs (step in which the request arrives, 0 to 8; tokens of its prompt, 1 to 40).

    A step computes at most 8 tokens, pages have 4 tokens, all requests may run at once, and each
    generates 6 tokens. A running request that waits only for its next token must get it in every step.

    | requests | step 0 | step 1 |
    |---|---|---|
    | [(0, 1), (1, 4)] | r0: 1 token | r0: 1, r1: 4, which is right |
    """
    raise NotImplementedError("exercise 10.19: write this function")


class Scheduler(scheduler.Scheduler):
    """The engine's `Scheduler`. The methods below replace its own; all others are inherited."""

    # ---------- Exercise 10.20: Case 10: fix it (about 6 minutes) ----------
    # There is a mistake in this function.
    # Fix `schedule`: running requests that decode take their one token first, and prompts share what is
    # left of the budget. The tokens of a step are at most `max_num_batched_tokens`.
    #
    # The result says for each request of the step how many of its tokens are computed. Budget 8, pages of
    # 4 tokens; requests are (step of arrival, tokens of the prompt):
    #
    # | requests | step 0 | step 1, right | step 1, as found |
    # |---|---|---|---|
    # | (0, 3) | r0: 3 | r0: 1 | the same |
    # | (0, 1), (1, 16) | r0: 1 | r0: 1, r1: 4 | the same |
    #
    # In step 2 of the second line r0 must get its 1 token again and r1 4; as found, r1 gets all 8.
    def schedule(self) -> dict[Request, int]:
        """The requests of the next step, and how many of its tokens each computes in it: together at most the budget.

        All of them are running and have pages for these tokens.
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
    """Return scores for which attention with the broken `take_scores` gives the wrong mean of the values:
    1 to 100 numbers from -20 to 20.

    There is one query. Key j has your score j and the value j, and a tile has 32 keys. The right result
    is the mean of 0, 1, 2, ... with the weights softmax(scores).

    | scores | mean |
    |---|---|
    | 32 times 0 | 15.5, which is right |
    | 33 times 0 | 16.0, which is right |
    """
    raise NotImplementedError("exercise 10.21: write this function")


# ---------- Exercise 10.23: Case 12, the race that is nearly always won: expose it (about 5 minutes) ----------
def numbers_that_race() -> int:
    """Return how many numbers the broken `reduce_3_kernel` must add up for two of its threads to race: an
    int from 1 to 4096.

    The numbers are 1, 2, ..., n, and the check mode of the emulator watches. It reports a race even if
    the sum came out right.

    | numbers | sum | race |
    |---|---|---|
    | 5 | 15, which is right | none |
    """
    raise NotImplementedError("exercise 10.23: write this function")
