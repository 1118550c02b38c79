# Exercises of lesson 10: Debug clinic: the bug hunt.
#
# Each function is the engine's, with its body taken out or a mistake put in. Write or fix it, save, check:
# `yaie.exercise("10.1").check()` in the notebook, or `yaie check 10.1` in a terminal.
# Functions that you have not written yet are filled in with the engine's own, so any order works.
# generated, text hash f466b66c968d3cda

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from yaie.engine import prefix_cache, scheduler
from yaie.engine.prefix_cache import PrefixMatch
from yaie.engine.request import Request, Status
from yaie.kernels import kv_cache, radix_tree
from yaie.kernels.attention import MAX_SCORES, attention, causal_mask, fast_attention
from yaie.kernels.kv_cache import OutOfBlocksError, _positive_int
from yaie.kernels.radix_tree import as_int_array, match_prefix


# ---------- Exercise 10.1: Case 1, the fork that forgot its layers: expose it (about 4 minutes) ----------
def num_layers() -> int:
    """Return a number of layers for which the broken `launch_copy` does not do what it should: an int from
    1 to 8.

    A cache of your number of layers has two blocks of four numbers in each layer, for keys and for
    values. Block 0 is copied to block 1, in every layer, keys and values.

    | layers | block 1 afterwards |
    |---|---|
    | 2 | a copy of block 0 in both layers, which is right |
    | yours | another result, or a report of the check mode |
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


# ---------- Exercise 10.5: Case 3, the penalty that rewarded: expose it (about 4 minutes) ----------
def logit_to_punish() -> float:
    """Return the logit of a token that has occurred before, and that the broken `apply_penalties` makes
    more likely: a number from -20 to 20.

    The logits of a row are yours for token 0 and 0.0 for token 1. Token 0 is in the prompt, and its
    repetition penalty is 2.

    | logit of token 0 | its probability before | after, by the broken function |
    |---|---|---|
    | 4.0 | 98.2% | 88.1%, which is right |
    | 0.5 | 62.2% | 56.2%, which is right |
    """
    raise NotImplementedError("exercise 10.5: write this function")


# ---------- Exercise 10.6: Case 3: fix it (about 5 minutes) ----------
# There is a mistake in this function.
# Fix `apply_penalties`: a repetition penalty above 1 makes every token that occurred before, in the
# prompt or in the output, less likely, whatever its logit is. A penalty below 1 makes it more likely.
#
# The logit moves by the factor of the penalty, towards minus infinity if the penalty is above 1. What
# else the function does stays as it is.
#
# Penalty 2 for both tokens:
#
# | logits | right | as found |
# |---|---|---|
# | 4, 1 | 2, 0.5 | the same |
# | -3, 0 | -6, 0 | -1.5, 0 |
def apply_penalties(
    logits: Tensor, in_prompt: Tensor, in_output: Tensor, repetition_penalty: Tensor, presence_penalty: Tensor
) -> Tensor:
    """Make tokens that occurred before less likely.

    Args:
        in_prompt, in_output: `[num_seqs, vocab_size]`, bool: tokens of the prompt, of the output so far.
        repetition_penalty: for tokens of both a positive logit is divided by it, and a negative one multiplied.
        presence_penalty: subtracted from the logits of tokens of the output.
    """
    repetition_penalty = repetition_penalty[:, None]
    punished = logits / repetition_penalty
    logits = torch.where(in_prompt | in_output, punished, logits)
    return logits - in_output * presence_penalty[:, None]


# ---------- Exercise 10.7: Case 4, right after the start and wrong at night: expose it (about 5 minutes) ----------
def comings_and_goings() -> list[tuple]:
    """Return what happens in a pool until the broken `_drop_references` has given a block away that is still
    in use: 1 to 8 tuples, in order.

    | tuple | what happens |
    |---|---|
    | ("new", "a", 6) | request "a" gets blocks for 6 tokens |
    | ("fork", "a", "b") | request "b" starts with the blocks of "a" |
    | ("end", "a") | request "a" ends and drops its references |

    The pool has 8 blocks of 4 tokens. What you return must be possible: only a request that has blocks
    can be forked or end.

    | what happens | afterwards |
    |---|---|
    | [("new", "a", 6), ("end", "a")] | all 8 blocks are free, which is right |
    """
    raise NotImplementedError("exercise 10.7: write this function")


class KVCacheManager(kv_cache.KVCacheManager):
    """The engine's `KVCacheManager`. The methods below replace its own; all others are inherited."""

    # ---------- Exercise 10.8: Case 4: fix it (about 4 minutes) ----------
    # There is a mistake in this function.
    # Fix `_drop_references`: each entry of `block_ids` drops one reference, and the blocks that nobody holds
    # any more go back to the free list.
    #
    # They are handed out again in the order in which they are named: the list is a stack, so the first of
    # them must come to lie at its end. The result names the blocks that became free, each once, in the
    # order of `block_ids`.
    #
    # Blocks of 4 tokens; "a" has 8 tokens:
    #
    # | what happens | right | as found |
    # |---|---|---|
    # | "a" ends | both blocks are free | the same |
    # | "a" is forked to "b", then "a" ends | none is free: "b" has both | both are on the free list |
    # | "a" is forked to "b" and "c", then "a" ends | none is free | the same |
    def _drop_references(self, block_ids: Sequence[int]) -> list[int]:
        """Drop one reference per entry; blocks left without any go back, the first to be handed out first."""
        for block_id in block_ids:
            self.ref_counts[block_id] -= 1
        freed = [block_id for block_id in dict.fromkeys(block_ids) if self.ref_counts[block_id] <= 1]
        self.free_block_list.extend(reversed(freed))
        return freed

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


# ---------- Exercise 10.9: Case 5, tested with 64 x 64 only: expose it (about 4 minutes) ----------
def rows_and_columns() -> tuple[int, int]:
    """Return the shape of a matrix that is not transposed with the broken `grid_of`: rows and columns, each
    an int from 1 to 70.

    | rows, columns | with the broken function |
    |---|---|
    | 64, 64 | right |
    | 70, 70 | right |
    """
    raise NotImplementedError("exercise 10.9: write this function")


# ---------- Exercise 10.11: Case 6, the padding that read: expose it (about 4 minutes) ----------
def ids_of_tokens() -> list[int]:
    """Return token ids with which the broken `embedding_kernel` touches memory outside the table: 1 to 4
    ints from -4 to 9.

    The table has 4 rows of one number: 10, 11, 12, 13. A token id without a row in the table must give
    NaN, and nothing may be read for it.

    | token ids | the rows fetched |
    |---|---|
    | [2, 0] | 12, 10, which is right |
    | [1, 9] | 11, NaN, which is right |
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


# ---------- Exercise 10.17: Case 9, the sum that grows: expose it (about 4 minutes) ----------
def sums_in_turn() -> list[int]:
    """Return which sums the broken `reduce_2_shared` must make, one after the other, for one of them to be
    wrong: 1 to 4 ints, each from 1 to 4096.

    For an entry n the numbers 1, 2, ..., n are added up. All sums go into the same tensor `total`, and
    its number is read after each. At the start it is 0.

    | entries | sums |
    |---|---|
    | [300] | 45,150, which is right |
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


# ---------- Exercise 10.21: Case 11, right up to 362: expose it (about 6 minutes) ----------
def past_and_new() -> tuple[int, int]:
    """Return how many tokens the broken `causal_attention` must be given for it to be wrong: a tuple (past,
    new), with at least one new token and at most 24 tokens in all.

    All keys get the same weight and token j has the value j, so a token at position p that sees itself and
    all before it must get p / 2. There are 65,536 heads, so a block of scores has room for 64 pairs of a
    query and a key: with `past + new` keys, a tile has 64 // (past + new) queries.

    | past, new | queries in a tile | the new tokens get |
    |---|---|---|
    | 0, 8 | 8 | 0, 0.5, 1, ..., 3.5, which is right |
    | 16, 4 | 3 | 8, 8.5, 9, 9.5, which is right |
    """
    raise NotImplementedError("exercise 10.21: write this function")


# ---------- Exercise 10.22: Case 11: fix it (about 6 minutes) ----------
# There is a mistake in this function.
# Fix `causal_attention`: each new token sees itself and everything before it, however many tiles the
# queries are cut into.
#
# `causal_mask(q_len, kv_len, offset)` says which of the keys 0 to `kv_len - 1` each of `q_len` queries
# may see, if the first of these queries stands at position `offset` (exercise 3.1).
#
# All keys get the same weight and token j has the value j; 64 // (past + new) queries make a tile:
#
# | past, new | right | as found |
# |---|---|---|
# | 0, 3 | 0, 0.5, 1 | the same |
# | 0, 10 | 0, 0.5, ..., 4.5 | 0, ..., 2.5, then 0, 0.5, 1, 1.5 |
# | 20, 4 | 10, 10.5, 11, 11.5 | 10, 10.5, 10, 10.5 |
def causal_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    offset: int = 0,
    keep: Tensor | None = None,
    scale: float | None = None,
    *,
    fast: bool = True,
) -> tuple[Tensor, Tensor]:
    """Causal attention of `offset` past tokens and `q_len` new ones, in tiles of queries.

    Each tile reads only the keys that its last query may see, and holds at most `MAX_SCORES` scores (but at least one
    query's). Returns as `attention`.

    Args:
        query, key, value, scale: as for `attention`; key `j` is the token at position `j`, query `i` at `offset + i`.
        keep: `[num_seqs, kv_len]`, False at keys that are padding.
        fast: `fast_attention` where it applies; else `attention`.
    """
    num_seqs, q_len, num_heads, _ = query.shape
    attend = fast_attention if fast and keep is None else attention  # padding may leave a query without keys
    tile = max(1, MAX_SCORES // max(1, num_seqs * num_heads * key.shape[1]))
    parts = []
    for start in range(0, q_len, tile):
        end = min(start + tile, q_len)
        visible = min(offset + end, key.shape[1])
        sees_all = offset + start >= visible - 1
        mask = None if sees_all else causal_mask(end - start, visible, offset, query.device)
        if keep is not None:
            mask = keep[:, None, :visible] if mask is None else mask & keep[:, None, :visible]
        parts.append(attend(query[:, start:end], key[:, :visible], value[:, :visible], mask, scale))
    if len(parts) == 1:
        return parts[0]
    outs, lses = zip(*parts, strict=True)
    return torch.cat(outs, dim=1), torch.cat(lses, dim=1)


# ---------- Exercise 10.23: Case 12, the race that the emulator wins: expose it (about 5 minutes) ----------
def fewest_that_race() -> int:
    """Return the smallest number of elements for which two threads of the broken `reduce_1_kernel` race: an
    int from 1 to 4096.

    The numbers are 1, 2, ..., n, one for each thread, with 256 threads in a thread block. The check mode
    of the emulator watches. It reports a race even if the sum came out right.

    | numbers | sum | race |
    |---|---|---|
    | 1 | 1, which is right | none |
    | 1000 | 500,500, nearly always | yes, but there is a smaller number |
    """
    raise NotImplementedError("exercise 10.23: write this function")
