# Exercises of lesson 10: Debug clinic: the bug hunt.
#
# Write the functions that have no body, fix those with a mistake in them, save the file, check:
# `yaie.exercise("10.1").check()` in the notebook, or `yaie check 10.1` in a terminal.
# Functions that you have not written yet are filled in with the engine's own, so any order works.
# generated, text hash 2abcff33c389a06a

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
    """Users who fork a request get a good answer with small models and nonsense with large ones. Say how many
    numbers a block must have so that the broken `copy_blocks_kernel` leaves some of them behind.
    """
    raise NotImplementedError("exercise 10.1: write this function")


# ---------- Exercise 10.3: Case 2, the tree that promised too much: expose it (about 4 minutes) ----------
def stored_and_asked() -> tuple[list[int], list[int]]:
    """Two users' prompts begin alike, and the second gets parts of the first one's answer. Give two prompts for
    which the broken `find_shared_prefixes` says that more is shared than is.
    """
    raise NotImplementedError("exercise 10.3: write this function")


class RadixTree(radix_tree.RadixTree):
    """The engine's `RadixTree`. The methods below replace its own; all others are inherited."""

    # ---------- Exercise 10.4: Case 2: mend it (about 5 minutes) ----------
    # There is a mistake in this function.
    # Mend `find_shared_prefixes`: the length is that of what is shared, and the ids are those who share it.
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
    """One request in a thousand ends with "the model computed numbers that are not finite". Give a number with
    which the broken `silu_mul_kernel` does not compute z * sigmoid(z).
    """
    raise NotImplementedError("exercise 10.5: write this function")


# ---------- Exercise 10.7: Case 4, right after the start and wrong at night: expose it (about 4 minutes) ----------
def block_table() -> list[int]:
    """After a restart all answers are right. After some hours long prompts are answered with facts from other
    prompts. Give a block table along which the broken `gather_pages_kernel` collects the wrong tokens.
    """
    raise NotImplementedError("exercise 10.7: write this function")


# ---------- Exercise 10.9: Case 5, tested with 64 x 64 only: expose it (about 4 minutes) ----------
def rows_and_columns() -> tuple[int, int]:
    """The author tested the transpose with a matrix of 64 x 64, and with 100 x 100 for good measure. Give a shape
    for which the broken `transpose_tile_kernel` fails.
    """
    raise NotImplementedError("exercise 10.9: write this function")


# ---------- Exercise 10.11: Case 6, the padding that wrote: expose it (about 4 minutes) ----------
def slots_of_new_tokens() -> list[int]:
    """Since batches are padded to a fixed size, something else in the process breaks now and then, each time
    elsewhere. Give slots with which the broken `reshape_and_cache_kernel` writes where it must not.
    """
    raise NotImplementedError("exercise 10.11: write this function")


# ---------- Exercise 10.13: Case 7, the step that failed half-way: expose it (about 6 minutes) ----------
def pool_and_tokens() -> tuple[int, int, int]:
    """When the pool runs full, a request is preempted and tried again later. Each time the pool has a block less.
    Give a pool, a prompt and a number of tokens with which the broken `append_tokens` raises `OutOfBlocksError`
    after it has changed something.
    """
    raise NotImplementedError("exercise 10.13: write this function")


class KVCacheManager(kv_cache.KVCacheManager):
    """The engine's `KVCacheManager`. The methods below replace its own; all others are inherited."""

    # ---------- Exercise 10.14: Case 7: mend it (about 6 minutes) ----------
    # There is a mistake in this function.
    # Mend `append_tokens`: find out whether there are enough blocks for all of it before anything changes.
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
    """An operator switches eviction to "lfu", so that the system prompt that everybody uses stays. The hit rate
    does not move. Give prompts after which the broken cache evicts another token than the right one.
    """
    raise NotImplementedError("exercise 10.15: write this function")


class PrefixCache(prefix_cache.PrefixCache):
    """The engine's `PrefixCache`. The methods below replace its own; all others are inherited."""

    # ---------- Exercise 10.16: Case 8: mend it (about 5 minutes) ----------
    # There is a mistake in this function.
    # Mend `match`: each lookup counts once for every node on its way. `self._touch(path, hits=...)` marks the nodes of
    # a path as used now and adds to the hits of each.
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
    """All tests pass. Once a week the process dies with an illegal address, in a kernel whose results were never
    wrong. Give a number of numbers with which the broken `reduce_2_kernel` reads beyond the last of them.
    """
    raise NotImplementedError("exercise 10.17: write this function")


# ---------- Exercise 10.19: Case 10, the answer that stood still: expose it (about 6 minutes) ----------
def arrivals() -> list[tuple[int, int]]:
    """While somebody pastes a long text, everybody else's answer stands still. Give requests with which the broken
    `Scheduler.schedule` gives no token to a request that only waits for its next one.
    """
    raise NotImplementedError("exercise 10.19: write this function")


class Scheduler(scheduler.Scheduler):
    """The engine's `Scheduler`. The methods below replace its own; all others are inherited."""

    # ---------- Exercise 10.20: Case 10: mend it (about 6 minutes) ----------
    # There is a mistake in this function.
    # Mend `schedule`: requests that decode take their one token first; prompts share what is left of the budget.
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
    """Flash attention takes 32 keys at a time. Its first author tested it with 16 and with 32 keys. Give scores
    for which the broken `take_scores` makes the weighted mean of the values wrong.
    """
    raise NotImplementedError("exercise 10.21: write this function")


# ---------- Exercise 10.23: Case 12, the race that is nearly always won: expose it (about 5 minutes) ----------
def numbers_that_race() -> int:
    """The sum is right in every test, and on the server it is a little too small, once in a while. Give a number
    of numbers with which two threads of the broken `reduce_3_kernel` race.
    """
    raise NotImplementedError("exercise 10.23: write this function")
