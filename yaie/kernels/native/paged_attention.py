"""Attention over pages by the kernels of `csrc/paged_attention/`, for a GPU or the emulator.

`paged_decode` and `paged_prefill` call one kernel each, with lengths that lie on the device. The operations of
`yaie.kernels.api` mix them: sequences with one query are decoded, split over many thread blocks where they are long
and few; sequences with several queries are cut into tiles of queries, or, where it pays, their pages are collected and
flash attention does the rest.

Nothing here reads from the device, and the number of splits follows from shapes and from `max_context_len` alone, so a
decode can be captured in a CUDA graph: make the plan with `decode_plan`, for tensors that will be filled in place.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import torch

from yaie.kernels.backends import BackendError
from yaie.kernels.native import DTYPES, implements, module
from yaie.kernels.native.flash_attention import flash_attention
from yaie.kernels.native.memory import gather_pages

RUNGS = {
    1: "paged_decode_1_thread_per_head",
    2: "paged_decode_2_warp_per_head",
    3: "paged_decode_3_grouped",
    4: "paged_decode_4_split_kv",
    5: "paged_decode_5_async",
}
rung = 5  # of the decodes of `api.paged_attention_forward`; the lesson turns it down to compare

LARGEST_HEAD_DIM = 256
# A thread block of a prefill has registers for this many rows, which are pairs of a token and a head of a group.
TILE_ROWS = 16
MOST_TILES = 65535  # in a launch: the tiles are the third direction of the grid
# What splits are chosen by. Keys of a split: with fewer, its warps have hardly a tile each.
FEWEST_SPLIT_TOKENS = 64
# Thread blocks that are resident on a multiprocessor at a time: 168 registers for each of 128 threads.
RESIDENT_BLOCKS = 3
# Prefills of 16-bit types with that many new tokens (on average) are worth collecting their pages for tensor cores,
# which want keys and values side by side. Contexts of more tokens than that together would take too much memory.
FEWEST_TO_GATHER, MOST_TO_GATHER = 32, 65536
# The share of the resident blocks that is enough to keep memory busy: the last wave is as slow as if it had so many.
SHARE_THAT_SATURATES = 0.8
# What starting a thread block costs, in keys that it could have read instead.
START_TOKENS = 64


class Gathered(NamedTuple):
    """The prefills of a batch for flash attention: where their keys lie, and which rows belong to which sequence.

    Sequences that decode are listed, so that rows are counted as in the flat query, but have no keys here.
    """

    slots: torch.Tensor  # [total_k] int64
    cu_seqlens_q: torch.Tensor  # [num_seqs + 1] int32
    cu_seqlens_k: torch.Tensor  # [num_seqs + 1] int32
    max_q_len: int
    max_kv_len: int


class PagedPlan(NamedTuple):
    """A batch over pages, on the device: lengths and tables only, so it serves every layer of a step."""

    block_tables: torch.Tensor  # [num_seqs, max_blocks] int32
    num_decodes: int
    context_lens: torch.Tensor | None  # [num_decodes] int32, where query s is of sequence s; else decode_tiles
    decode_tiles: torch.Tensor | None  # [num_decodes, 4] int32, as in paged_attention.cu
    prefill_tiles: torch.Tensor | None  # [num_tiles, 4] int32, each of at most `tile_tokens` tokens
    tile_tokens: int
    num_splits: int
    split_tokens: int
    num_tokens: int  # rows of the flat query
    gathered: Gathered | None = None  # in the place of prefill_tiles


# --- one kernel ---------------------------------------------------------------------------------------------


def paged_decode(
    query: torch.Tensor,
    key_cache: torch.Tensor,
    value_cache: torch.Tensor,
    block_tables: torch.Tensor,
    context_lens: torch.Tensor,
    max_context_len: int,
    *,
    scale: float | None = None,
    rung: int = 5,
    backend: str = "cuda",
    check: bool = False,
) -> torch.Tensor:
    """Attention of one query per sequence over the pages of its context.

    Args:
        query: `[num_seqs, num_heads, head_dim]`, contiguous.
        key_cache, value_cache: `[num_blocks, block_size, num_kv_heads, head_dim]`, in query's dtype.
        block_tables: `[num_seqs, max_blocks]`, int32; entries beyond a context are not read.
        context_lens: `[num_seqs]`, int32: the tokens that each query sees. 0 gives zeros.
        max_context_len: about the longest context; rungs 4 and 5 choose their splits by it. Longer ones are right, too.
        scale: factor of the scores; None means `1 / sqrt(head_dim)`.
        rung: which kernel, 1 to 5.
        backend, check: as for `yaie.kernels.native.module`.

    Returns:
        Like query.

    Raises:
        BackendError: a dtype or head_dim that the kernels do not take.
    """
    plan = decode_plan(block_tables, context_lens, max_context_len, key_cache)
    out = torch.empty_like(query)
    _decode(query, key_cache, value_cache, plan, _scale(scale, query), out, rung, backend, check)
    return out


def decode_plan(
    block_tables: torch.Tensor, context_lens: torch.Tensor, max_context_len: int, key_cache: torch.Tensor
) -> PagedPlan:
    """The plan of a batch of decodes whose tables and lengths stay where they are and may change: for a CUDA graph.

    Args:
        block_tables: `[num_seqs, max_blocks]` int32. context_lens: `[num_seqs]` int32; 0 for a row that is padding.
        max_context_len: the longest context to be fast for.
        key_cache: any layer.
    """
    _check(key_cache)
    num_seqs = len(block_tables)
    # Contexts may be far shorter than the longest: each is cut into as many splits, of some keys at least.
    num_splits, _ = _splits(num_seqs, max_context_len, key_cache)
    splits = num_splits, FEWEST_SPLIT_TOKENS
    return PagedPlan(block_tables, num_seqs, context_lens, None, None, 1, *splits, num_seqs)


def _splits(num_seqs: int, max_context_len: int, key_cache: torch.Tensor) -> tuple[int, int]:
    """`choose_splits` for a context rounded up, so that a growing one does not make it choose anew in every step."""
    rounded = -(-max_context_len // FEWEST_SPLIT_TOKENS) * FEWEST_SPLIT_TOKENS
    return choose_splits(num_seqs * key_cache.shape[2], rounded, _num_multiprocessors(key_cache.device))


@cache
def choose_splits(num_blocks: int, max_context_len: int, num_multiprocessors: int) -> tuple[int, int]:
    """How many thread blocks share a context, and how many keys each takes: `(num_splits, split_tokens)`.

    More splits fill the card and even out its last wave of thread blocks; each costs its start.

    Args:
        num_blocks: thread blocks of an unsplit decode, `num_seqs * num_kv_heads`.
        max_context_len: the longest context.
    """
    if num_blocks == 0 or max_context_len <= FEWEST_SPLIT_TOKENS:
        return 1, FEWEST_SPLIT_TOKENS
    num_splits = np.arange(1, -(-max_context_len // FEWEST_SPLIT_TOKENS) + 1)
    split_tokens = -(-max_context_len // num_splits)
    full, rest = np.divmod(num_blocks * num_splits, RESIDENT_BLOCKS * num_multiprocessors)
    rest = rest / (RESIDENT_BLOCKS * num_multiprocessors)
    waves = full + np.where(rest > 0, np.maximum(rest, SHARE_THAT_SATURATES), 0)
    best = int(np.argmin(waves * (split_tokens + START_TOKENS)))
    return int(num_splits[best]), int(split_tokens[best])


class PagedShape(NamedTuple):
    """As in csrc/paged_attention/problem.cuh."""

    num_tiles: int
    tile_tokens: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    block_size: int
    max_blocks: int
    num_splits: int
    split_tokens: int
    scale: float
    dtype: int


def _shape(query, key_cache, plan, scale, num_tiles, tile_tokens) -> PagedShape:
    num_heads, head_dim = query.shape[1:]
    _, block_size, num_kv_heads, _ = key_cache.shape
    max_blocks, splits = plan.block_tables.shape[1], (plan.num_splits, plan.split_tokens)
    sizes = num_tiles, tile_tokens, num_heads, num_kv_heads, head_dim, block_size, max_blocks, *splits
    return PagedShape(*sizes, scale, DTYPES[query.dtype])


def _launcher(name: str, backend: str, check: bool):
    return getattr(module(f"paged_attention/{name}.cu", backend, check=check), name)


def _decode(query, key_cache, value_cache, plan, scale, out, rung, backend, check=False) -> None:
    """Write the rows of `out` that belong to the plan's decodes."""
    tables, lens, tiles = plan.block_tables, plan.context_lens, plan.decode_tiles
    shape = _shape(query, key_cache, plan, scale, plan.num_decodes, 1)
    run = _launcher(RUNGS[rung], backend, check)
    if rung >= 4:
        partial_out = partial_lse = None
        if plan.num_splits > 1:
            parts = (plan.num_decodes, query.shape[1], plan.num_splits, query.shape[2])
            partial_out = query.new_empty(parts, dtype=torch.float32)
            partial_lse = query.new_empty(parts[:3], dtype=torch.float32)
        run(query, key_cache, value_cache, tables, lens, tiles, out, partial_out, partial_lse, shape)
        return
    if tiles is None:
        run(query, key_cache, value_cache, tables, lens, out, shape)
        return
    # The plainer rungs know nothing of tiles: collect the rows of the decodes, and put the results back.
    seqs, rows, _, lens = tiles.unbind(1)
    part = torch.empty_like(query[rows])
    run(query[rows], key_cache, value_cache, tables[seqs], lens.contiguous(), part, shape)
    out[rows] = part


def paged_prefill(
    query: torch.Tensor,
    key_cache: torch.Tensor,
    value_cache: torch.Tensor,
    plan: PagedPlan,
    scale: float | None = None,
    *,
    backend: str = "cuda",
    check: bool = False,
) -> torch.Tensor:
    """Causal attention of the plan's tiles of queries over pages; rows of other queries are left as they come.

    Args:
        query: `[num_tokens, num_heads, head_dim]`, contiguous.
        key_cache, value_cache, scale, backend, check: as for `paged_decode`.
        plan: from `plan_attention` with `gather=False`, so that it has tiles.
    """
    out = torch.empty_like(query)
    _prefill(query, key_cache, value_cache, plan, _scale(scale, query), out, backend, check)
    return out


def _prefill(query, key_cache, value_cache, plan, scale, out, backend, check=False) -> None:
    launch = _launcher("paged_prefill", backend, check)
    for tiles in plan.prefill_tiles.split(MOST_TILES):
        shape = _shape(query, key_cache, plan, scale, len(tiles), plan.tile_tokens)
        launch(query, key_cache, value_cache, plan.block_tables, tiles, out, shape)


def _prefill_gathered(query, key_cache, value_cache, gathered, scale, backend) -> torch.Tensor:
    slots, *lengths = gathered
    key, value = (
        gather_pages(backend, cache.flatten(0, 1).unsqueeze(1), slots, len(slots)) for cache in (key_cache, value_cache)
    )
    return flash_attention(query, key, value, *lengths, scale=scale, backend=backend)


# --- the operations of the API ------------------------------------------------------------------------------


@implements("plan_attention")
def plan_attention(backend, block_tables, context_lens, query_lens, key_cache, gather: bool | None = None) -> PagedPlan:
    """See `api.plan_attention`. `gather`: collect the pages of prefills first; None: where it pays."""
    _check(key_cache)
    tables = block_tables.to(torch.int32).contiguous()
    context_lens = np.asarray(context_lens, dtype=np.int32)
    query_lens = np.ones_like(context_lens) if query_lens is None else np.asarray(query_lens, dtype=np.int32)
    decodes = np.flatnonzero(query_lens == 1)
    splits = _splits(len(decodes), int(context_lens[decodes].max(initial=0)), key_cache)

    def on_device(array: np.ndarray) -> torch.Tensor:
        # Not waiting is safe: from memory that is not pinned the driver takes a copy before it returns.
        return torch.from_numpy(np.ascontiguousarray(array)).to(key_cache.device, non_blocking=True)

    if len(decodes) == len(query_lens):
        return PagedPlan(tables, len(decodes), on_device(context_lens), None, None, 1, *splits, len(decodes))
    starts = np.concatenate(([0], query_lens.cumsum(dtype=np.int32)))
    tiles = np.stack((decodes, starts[decodes], np.ones_like(decodes), context_lens[decodes]), axis=1)
    if pays_to_gather(context_lens, query_lens, key_cache.dtype) if gather is None else gather:
        decode_tiles = on_device(tiles.astype(np.int32)) if len(decodes) else None
        gathered = _gather(tables, context_lens, query_lens, key_cache.shape[1])
        num_tokens = int(starts[-1])
        return PagedPlan(tables, len(decodes), None, decode_tiles, None, 1, *splits, num_tokens, gathered)
    # How many heads share a KV head is known with the query only; four is usual, and any number is right.
    tile_tokens = TILE_ROWS // 4
    prefill = prefill_tiles(context_lens, query_lens, tile_tokens)
    both = on_device(np.concatenate((tiles, prefill)).astype(np.int32))  # one copy to the device
    return PagedPlan(
        tables,
        len(decodes),
        None,
        both[: len(decodes)] if len(decodes) else None,
        both[len(decodes) :] if len(prefill) else None,
        tile_tokens,
        *splits,
        int(starts[-1]),
    )


def pays_to_gather(context_lens: np.ndarray, query_lens: np.ndarray, dtype: torch.dtype) -> bool:
    """Whether the prefills of a batch are faster when their pages are collected first."""
    prefills = query_lens > 1
    return (
        dtype in (torch.float16, torch.bfloat16)
        and query_lens[prefills].sum() >= FEWEST_TO_GATHER * prefills.sum() > 0
        and context_lens[prefills].sum() <= MOST_TO_GATHER
    )


def _gather(tables: torch.Tensor, context_lens: np.ndarray, query_lens: np.ndarray, block_size: int) -> Gathered:
    kv_lens = np.where(query_lens > 1, context_lens, 0)
    ends = kv_lens.cumsum()
    positions = np.arange(ends[-1]) - np.repeat(ends - kv_lens, kv_lens)
    pages = np.repeat(np.arange(len(kv_lens)) * tables.shape[1], kv_lens) + positions // block_size
    cu_seqlens = [np.concatenate(([0], lens.cumsum())) for lens in (query_lens, kv_lens)]
    sizes = [len(pages), len(pages), len(ends) + 1, len(ends) + 1]
    packed = torch.from_numpy(np.concatenate((pages, positions % block_size, *cu_seqlens)))
    pages, offsets, cu_q, cu_k = packed.to(tables.device, non_blocking=True).split(sizes)
    slots = tables.flatten()[pages].long() * block_size + offsets
    return Gathered(slots, cu_q.int(), cu_k.int(), int(query_lens.max()), int(kv_lens.max()))


def prefill_tiles(context_lens: np.ndarray, query_lens: np.ndarray, tile_tokens: int) -> np.ndarray:
    """Cut the queries of every sequence that has several into tiles.

    Returns:
        `[num_tiles, 4]`: sequence, first row of the flat query, number of tokens, keys that the first of them sees. The
        tiles that see most come first, so that no thread block starts on a long one when the others are done.
    """
    starts = np.concatenate(([0], query_lens.cumsum()))
    tiles = [np.empty((0, 4), dtype=np.int64)]
    for s in np.flatnonzero(query_lens > 1).tolist():
        first = np.arange(0, query_lens[s], tile_tokens)
        count = np.minimum(tile_tokens, query_lens[s] - first)
        visible = context_lens[s] - query_lens[s] + first + 1
        tiles.append(np.stack((np.full_like(first, s), starts[s] + first, count, visible), axis=1))
    together = np.concatenate(tiles)
    return together[np.argsort(-together[:, 3], kind="stable")]


@implements("paged_attention_forward")
def paged_attention_forward(
    backend, query, key_cache, value_cache, block_tables, context_lens, query_lens, scale, plan
):
    if query.dtype != key_cache.dtype:
        raise BackendError(f"the cache must have the query's dtype, {query.dtype}, not {key_cache.dtype}")
    if plan is None:
        plan = plan_attention(backend, block_tables, context_lens, query_lens, key_cache)
    if len(query) != plan.num_tokens:
        raise ValueError(f"the plan is for {plan.num_tokens} query tokens, got {len(query)}")
    query, scale = query.contiguous(), _scale(scale, query)
    if plan.gathered is None:
        out = torch.empty_like(query)
    else:  # also writes the rows of decodes, which are put right below
        out = _prefill_gathered(query, key_cache, value_cache, plan.gathered, scale, backend)
    if plan.num_decodes:
        _decode(query, key_cache, value_cache, plan, scale, out, rung, backend)
    if plan.prefill_tiles is not None:
        _prefill(query, key_cache, value_cache, plan, scale, out, backend)
    return out


# --- checks -------------------------------------------------------------------------------------------------


def _check(cache: torch.Tensor) -> None:
    """Raises `BackendError` for a cache that the kernels do not take."""
    num_blocks, block_size, _, head_dim = cache.shape
    if cache.dtype not in DTYPES:
        raise BackendError(f"paged attention takes float32, float16 and bfloat16, not {cache.dtype}")
    if head_dim % 8 or not 8 <= head_dim <= LARGEST_HEAD_DIM:
        raise BackendError(
            f"paged attention takes a head_dim that is a multiple of 8 up to {LARGEST_HEAD_DIM}, not {head_dim}"
        )
    if num_blocks * block_size >= 2**31:
        raise BackendError(f"paged attention counts slots in 31 bits, the pool has {num_blocks * block_size}")


def _scale(scale: float | None, query: torch.Tensor) -> float:
    return query.shape[-1] ** -0.5 if scale is None else scale


@cache
def _num_multiprocessors(device: torch.device) -> int:
    """Of the card; an H100's, if the emulator stands for one."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 132
