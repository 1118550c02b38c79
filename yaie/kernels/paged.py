"""Attention over pages: what a batch reads is planned once, and every layer of a step follows the plan.

One layer of the cache is `[num_blocks, block_size, num_kv_heads, head_dim]`. A batch is flat, `[num_tokens, num_heads,
head_dim]`, the tokens of a sequence next to each other. Pages that several sequences have in common are read once for
all of them, each sequence adds its own pages, and the results are merged (`attention.merge_attention`).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from yaie.kernels import attention
from yaie.kernels.checks import require

# Tokens of KV gathered at once in a batched decode: measured, more falls out of a CPU's caches, fewer costs more calls.
MAX_GATHERED_TOKENS = 8192
# Reading shared pages separately costs about as much as gathering so many numbers of keys, and as many of values:
# `python -m yaie.bench prefix`, see bench/results/LEDGER.md.
LEAST_SAVED_NUMBERS = 2**18


def gather_pages(cache: Tensor, block_table: Tensor, context_len: int) -> Tensor:
    """Collect the first `context_len` tokens of a sequence, which lie in pages all over the pool: a copy
    `[context_len, num_kv_heads, head_dim]`, in order of position.

    cache: `[num_blocks, block_size, num_kv_heads, head_dim]`, keys or values of one layer
    block_table: integers; entry `i` is the block that holds the tokens `i * block_size ... (i + 1) * block_size - 1`;
        what comes after the context may be anything
    """
    num_blocks = -(-context_len // cache.shape[1])
    return cache.index_select(0, block_table[:num_blocks]).flatten(0, 1)[:context_len]


class PagedKeys(NamedTuple):
    """Tokens in pages that all queries of `rows` see, or of which the last are these queries."""

    rows: Tensor | slice  # of the flat query
    block_table: Tensor
    num_tokens: int


class DecodeBatch(NamedTuple):
    """Sequences with one query each and the tokens that they do not share, padded to the longest."""

    rows: Tensor | slice
    # [num_seqs, num_kv_heads, kv_len] rows of the cache seen as [-1, head_dim]. Padding repeats the sequence's own last
    # token, so that what another request left in the pool (a NaN, say) cannot reach this one.
    kv_rows: Tensor
    mask: Tensor | None  # [num_seqs, 1, kv_len], None where nothing is padded


class AttentionPlan(NamedTuple):
    """What to read for a batch. Depends on lengths and block tables only."""

    num_tokens: int  # rows of the flat query
    shared: Sequence[PagedKeys] = ()  # pages of several sequences
    decode: Sequence[DecodeBatch] = ()
    prefill: Sequence[PagedKeys] = ()  # sequences with several queries
    single: PagedKeys | None = None  # the whole batch, if it is one decode


class SharedPages(NamedTuple):
    """Pages that several sequences have in the same places, so that one reading serves all of them."""

    members: np.ndarray  # indices of these sequences
    begin: int  # of each: its pages from this one on, up to `end`
    end: int


def reading_once_pays(num_pages: int, branches: np.ndarray, min_saved: int) -> bool:
    """Whether `num_pages` pages that several sequences share should be read once for all of them.

    Where they end the sequences branch: `branches` has for each way on the number of sequences that go it together (a
    sequence that shares no further page is a branch of one). Left to itself, a branch reads these pages once if that
    saves `min_saved` pages (at least 1), else each of its sequences does. So much must reading once for all save, too.
    """
    readers = np.where((branches - 1) * num_pages >= min_saved, 1, branches)
    return bool((readers.sum() - 1) * num_pages >= min_saved)


def shared_pages(block_tables: np.ndarray, num_shareable: np.ndarray, min_saved: int) -> list[SharedPages]:
    """What to read once, of `block_tables` `[num_seqs, max_blocks]`, of which the first `num_shareable` `[num_seqs]`
    may be shared, where that pays (`reading_once_pays`). Groups nest: the shared pages of a sequence follow one another
    from its first page on, those of a large group before those of a smaller one. Pages that it does not pay to read for
    all are left to the branches, before their own.
    """
    found = []
    # Sequences, the first page that they do not read yet, and the page up to which they are known to agree.
    groups = [(np.arange(len(num_shareable)), 0, 0)]
    while groups:
        members, begin, end = groups.pop()
        if end:  # else they are all: few agree on anything
            limit = int(num_shareable[members].min())
            equal = (block_tables[members, end:limit] == block_tables[members[0], end:limit]).all(axis=0)
            end = limit if equal.all() else end + int(equal.argmin())
        longer = members[num_shareable[members] > end]
        next_pages = block_tables[longer, end] if len(longer) else longer  # no table may have so many
        _, branch, counts = np.unique(next_pages, return_inverse=True, return_counts=True)
        ended = np.ones(len(members) - len(longer), np.int64)
        if reading_once_pays(end - begin, np.concatenate((counts, ended)), min_saved):
            found.append(SharedPages(members, begin, end))
            begin = end
        groups += [(longer[branch == i], begin, end + 1) for i in np.flatnonzero(counts > 1)]
    return found


def plan_attention(
    block_tables: Tensor,
    context_lens: Sequence[int] | Tensor,
    query_lens: Sequence[int] | Tensor | None,
    *,
    block_size: int,
    num_kv_heads: int,
    shared: Sequence[SharedPages] = (),
) -> AttentionPlan:
    """Decide what a batch over pages reads together; see `ops.paged_attention.Torch.plan_attention`."""
    if block_tables.shape[0] == 1 and (query_lens is None or int(query_lens[0]) == 1):
        num_tokens = int(context_lens[0])
        table = block_tables[0, : -(-num_tokens // block_size)]
        return AttentionPlan(1, single=PagedKeys(slice(0, 1), table, num_tokens))
    # Planned in numpy: on a few hundred numbers its calls cost a fraction of a tensor's.
    tables = block_tables.cpu().numpy()
    context_lens = np.asarray(context_lens, dtype=np.int64)
    query_lens = np.ones_like(context_lens) if query_lens is None else np.asarray(query_lens, dtype=np.int64)
    starts = np.concatenate(([0], query_lens.cumsum()))

    def on_device(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(block_tables.device)

    parts, num_shared = [], np.zeros_like(context_lens)
    for members, begin, end in shared:
        rows = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in members])
        table = block_tables[int(members[0]), begin:end]
        parts.append(PagedKeys(on_device(rows), table, (end - begin) * block_size))
        num_shared[members] = end

    own_lens = context_lens - num_shared * block_size
    prefill = [
        PagedKeys(slice(starts[i], starts[i + 1]), block_tables[i, num_shared[i] :], int(own_lens[i]))
        for i in np.flatnonzero(query_lens > 1).tolist()
    ]
    decode = []
    longest_first = np.flatnonzero(query_lens == 1)
    if len(longest_first) and own_lens[longest_first].max() * len(longest_first) > MAX_GATHERED_TOKENS:
        longest_first = longest_first[np.argsort(-own_lens[longest_first], kind="stable")]
    while len(longest_first):
        kv_len = int(own_lens[longest_first].max())
        count = max(1, MAX_GATHERED_TOKENS // kv_len)
        members, longest_first = longest_first[:count], longest_first[count:]
        lens = own_lens[members, None]
        positions = np.minimum(np.arange(kv_len), lens - 1)
        blocks = tables[members[:, None], num_shared[members, None] + positions // block_size].astype(np.int64)
        slots = blocks * block_size + positions % block_size
        kv_rows = slots[:, None, :] * num_kv_heads + np.arange(num_kv_heads)[:, None]
        mask = None if (lens == kv_len).all() else on_device(np.arange(kv_len) < lens)[:, None]
        rows = starts[members]
        in_order = (rows[1:] - rows[:-1] == 1).all()
        rows = slice(int(rows[0]), int(rows[-1]) + 1) if in_order else on_device(rows)
        decode.append(DecodeBatch(rows, on_device(kv_rows), mask))
    return AttentionPlan(int(starts[-1]), parts, decode, prefill)


def check_plan(plan: Any, kind: type, query: Tensor) -> None:
    """Raise `ValueError` for what is no plan of these operations, or a plan for other queries."""
    require(isinstance(plan, kind), "plan must be from plan_attention of the same backend", plan)
    if query.shape[0] != plan.num_tokens:  # asked in every layer, so the message is made only when it is needed
        raise ValueError(f"the plan is for {plan.num_tokens} query tokens, got {query.shape[0]}")


def _attend_single(
    query: Tensor, key_cache: Tensor, value_cache: Tensor, single: PagedKeys, scale: float | None, fast: bool
) -> Tensor:
    """The output of a single decode, in few calls: a chat spends most of its time on it."""
    num_kv_heads, head_dim = key_cache.shape[2:]
    # The rows of the pages, heads before tokens, as one view of each copy.
    shape = 1, num_kv_heads, single.num_tokens, head_dim
    strides = 0, head_dim, num_kv_heads * head_dim, 1
    key = key_cache.index_select(0, single.block_table).as_strided(shape, strides)
    value = value_cache.index_select(0, single.block_table).as_strided(shape, strides)
    if not fast or not attention.flash_kernel_takes(query, key, value):
        key, value = key.transpose(1, 2), value.transpose(1, 2)
        return attention.attention(query[None], key, value, None, scale)[0][0].to(query.dtype)
    grouped = query.view(1, num_kv_heads, -1, head_dim)
    return F.scaled_dot_product_attention(grouped, key, value, scale=scale).view(query.shape)


def paged_attention(
    query: Tensor, key_cache: Tensor, value_cache: Tensor, plan: AttentionPlan, scale=None, fast: bool = True
) -> Tensor:
    """`ops.paged_attention.Torch.paged_attention_forward`. `fast`: as for `causal_attention`."""
    check_plan(plan, AttentionPlan, query)
    if plan.single is not None:
        return _attend_single(query, key_cache, value_cache, plan.single, scale, fast)
    attend = attention.fast_attention if fast else attention.attention
    out = query.new_empty(query.shape, dtype=torch.promote_types(query.dtype, torch.float32))
    lse, caches, head_dim = out.new_empty(query.shape[:-1]), (key_cache, value_cache), query.shape[-1]

    def gathered(part: PagedKeys) -> list[Tensor]:
        return [gather_pages(cache, part.block_table, part.num_tokens)[None] for cache in caches]

    for rows, kv_rows, mask in plan.decode:
        flat = (cache.view(-1, head_dim).index_select(0, kv_rows.view(-1)) for cache in caches)
        key, value = (x.view(*kv_rows.shape, head_dim).transpose(1, 2) for x in flat)
        out[rows, None], lse[rows, None] = attend(query[rows, None], key, value, mask, scale)
    for part in plan.prefill:
        queries = query[None, part.rows]
        offset = part.num_tokens - queries.shape[1]
        whole = attention.causal_attention(queries, *gathered(part), offset, None, scale, fast=fast)
        out[None, part.rows], lse[None, part.rows] = whole
    for part in plan.shared:
        # All queries of the group as if they were one sequence's, after the prefix: its keys are read once.
        part_out, part_lse = attend(query[None, part.rows], *gathered(part), None, scale)
        merged = attention.merge_attention(out[part.rows], lse[part.rows], part_out[0], part_lse[0])
        out[part.rows], lse[part.rows] = merged
    return out.to(query.dtype)
