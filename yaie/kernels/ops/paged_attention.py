"""Attention over pages.

The kernels know two shapes of work: a decode, one query of a sequence, split over several thread blocks where contexts
are long and sequences few; and tiles of queries of a prefill. Nothing reads from the device, and the number of splits
follows from shapes and from the longest context alone, so a decode can be captured in a CUDA graph (`decode_plan`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from yaie.kernels import paged
from yaie.kernels.checks import FLOATS, Sizes, number, require
from yaie.kernels.ops import attention, launching, memory
from yaie.kernels.ops.launching import Backend, BackendError, Family, Launcher, aligned, checked, dtype_code, run
from yaie.kernels.paged import SharedPages

__all__ = ["paged_attention_forward", "plan_attention"]

TAKES = "paged attention takes"

# Tokens of a tile of a prefill. Its rows, pairs of a token and a head of a group, go to as many thread blocks as they
# fill; one has 128 rows on tensor cores (64 for a head_dim above 128), else 16.
TILE_TOKENS = 128
# What splits are chosen by. Keys of a split: with fewer, its warps have hardly a tile each.
FEWEST_SPLIT_TOKENS = 64
# Thread blocks that are resident on a multiprocessor at a time: 168 registers for each of 128 threads.
RESIDENT_BLOCKS = 3
# The share of the resident blocks that is enough to keep memory busy (measured on an H100): the last wave is as slow as
# if it had so many.
SHARE_THAT_SATURATES = 0.8
# What starting a thread block costs, in keys that it could have read instead (measured on an H100).
START_TOKENS = 64
# Keys of a split where contexts fill the card without being split: so many, or so many for each context and head of
# keys if that is more, since the more there are, the longer is one read beside the others; and the most splits then.
# On an H200 splits of 1,024 lost 7% and more wherever contexts were a little longer (bench/results/LEDGER.md).
LONG_SPLIT_TOKENS, LONG_SPLIT_TOKENS_EACH, MOST_LONG_SPLITS = 2048, 4, 8
# Rows of a thread block that reads shared pages: query heads of sequences that share them.
SHARED_ROWS = 64
# Thread blocks that read shared pages, for each multiprocessor, which has room for three: the third has own pages.
SHARED_BLOCKS = 2
# What reading shared pages once must save for each layer, to pay for one more launch and for parts that are written and
# read again: measured on an H200 (bench/results/LEDGER.md).
LEAST_SAVED_BYTES = 30e6
# Keys that rung 6 of flash attention copies at once by TMA, if a page has so many or a multiple. Other pages its
# threads copy, and rung 4 is faster (on an H100, 64 x 128 new of 2,176 tokens over pages of 8: 409 us beside 514).
SMALLEST_BOX = 16
# Pieces of shared pages that a sequence can be in. Each is a part of its output in memory.
MAX_PIECES_OF_SEQUENCE = 16


class Torch(Family):
    RUNGS = {"shared_pages": {1: "read for each sequence", 2: "read once for all that share them, where that pays"}}

    def least_saved_pages(self, key_cache: Tensor) -> int | None:
        """`min_saved` of `paged.shared_pages`, for what pays here; None: reading pages once never does."""
        return -(-paged.LEAST_SAVED_NUMBERS // key_cache[0].numel()) if self.rungs["shared_pages"] > 1 else None

    def plan_attention(
        self,
        block_tables: Tensor,
        context_lens: Sequence[int],
        query_lens: Sequence[int] | None,
        key_cache: Tensor,
        shared: Sequence[SharedPages] = (),
    ) -> Any:
        """What `paged_attention_forward` needs to know of a flat batch, prepared once for all layers of a step.

        block_tables: `[num_seqs, max_blocks]`, int32 or int64; entries beyond a context may be anything
        context_lens: `[num_seqs]`, tokens of each sequence in the pages, its queries included
        query_lens: `[num_seqs]`, queries of each sequence, the last tokens of its context; None: one each
        key_cache: any layer of the cache; only its shape, dtype and device are used
        shared: what sequences read together, from `paged.shared_pages`: of full pages before their first queries
        """
        sizes = {"block_size": key_cache.shape[1], "num_kv_heads": key_cache.shape[2]}
        return paged.plan_attention(block_tables, context_lens, query_lens, **sizes, shared=shared)

    def decode_plan(
        self, block_tables: Tensor, context_lens: Tensor, max_context_len: int, key_cache: Tensor, pieces: Any = None
    ) -> Any:
        """The plan of a batch of decodes whose tables and lengths stay where they are and may change: for a CUDA graph.

        Both are int32; a context of 0 is a row of padding, and one beyond `max_context_len` is right, but not fast.
        pieces: `Pieces` of such a batch, where shared pages are to be read once; what they are may change in place, too
        """
        raise BackendError("torch's attention over pages asks the host for lengths, so it cannot be captured")

    def paged_attention_forward(
        self,
        query: Tensor,
        key_cache: Tensor,
        value_cache: Tensor,
        block_tables: Tensor | None,
        context_lens: Sequence[int] | None,
        query_lens: Sequence[int] | None,
        scale: float | None = None,
        plan: Any = None,
    ) -> Tensor:
        """Causal attention over pages, which have the keys and values of the query tokens already. Like query.

        query: flat, `[num_tokens, num_heads, head_dim]`, the tokens of each sequence next to each other
        key_cache, value_cache: `[num_blocks, block_size, num_kv_heads, head_dim]`, contiguous: one layer
        block_tables, context_lens, query_lens: as for `plan_attention`; not looked at if there is a plan
        scale: factor of the scores; None means `1 / sqrt(head_dim)`
        plan: from `plan_attention` or `decode_plan` of the same operations
        """
        if plan is None:
            plan = self.plan_attention(block_tables, context_lens, query_lens, key_cache)
        return paged.paged_attention(query, key_cache, value_cache, plan, scale, self.rungs["attention"] > 1)


class Pieces:
    """Shared pages in the pieces that thread blocks read, as csrc/paged_attention/paged_decode_shared.cu takes them.

    The tensors stay where they are, of a size that follows from shapes, so a CUDA graph can read them.

    pieces: `[max_pieces, 2, 4]`; members: `[max_members]`; shared: `[num_seqs, 2]`; all int32
    """

    def __init__(self, num_seqs: int, num_heads: int, key_cache: Tensor) -> None:
        _, self.block_size, num_kv_heads, _ = key_cache.shape
        self.seqs_of_block = max(1, SHARED_ROWS * num_kv_heads // num_heads)
        self.num_wanted = -(-SHARED_BLOCKS * _num_multiprocessors(key_cache.device) // num_kv_heads)
        self.sizes = (self.num_wanted + num_seqs) * 8, 4 * num_seqs, 2 * num_seqs
        self._tensor = torch.zeros(sum(self.sizes), dtype=torch.int32, device=key_cache.device)
        pieces, self.members, shared = self._tensor.split(self.sizes)
        self.pieces, self.shared = pieces.view(-1, 2, 4), shared.view(-1, 2)
        self._set: Sequence[SharedPages] = ()

    def set(self, shared: Sequence[SharedPages]) -> None:
        """What is to be read. A group that there is no room for, and what nests in it, each sequence reads itself."""
        if shared is self._set:
            return
        array = np.zeros(sum(self.sizes), np.int32)
        pieces, members, of_sequence = np.split(array, np.cumsum(self.sizes)[:-1])
        pieces, of_sequence = pieces.reshape(-1, 2, 4), of_sequence.reshape(-1, 2)
        num_pieces = num_members = 0
        keys = [(group.end - group.begin) * self.block_size for group in shared]
        blocks = [-(-len(group.members) // self.seqs_of_block) for group in shared]
        piece_len = max(FEWEST_SPLIT_TOKENS, np.dot(keys, blocks) // self.num_wanted)
        for group, num_keys, num_blocks in zip(shared, keys, blocks, strict=True):
            (first, in_pieces), n = of_sequence[group.members[0]].tolist(), len(group.members)
            count = min(-(-num_keys // piece_len), MAX_PIECES_OF_SEQUENCE - in_pieces)
            new = num_pieces + count * num_blocks
            if (
                first != group.begin * self.block_size
                or not count
                or new > len(pieces)
                or num_members + n > len(members)
            ):
                continue
            bounds = first + np.arange(count + 1) * num_keys // count
            slots = MAX_PIECES_OF_SEQUENCE - 1 - in_pieces - np.arange(count)
            starts = np.arange(0, n, self.seqs_of_block)
            cut = pieces[num_pieces:new].reshape(count, num_blocks, 8)
            cut[..., 0] = group.members[0]
            cut[..., 1], cut[..., 2], cut[..., 3] = bounds[:-1, None], bounds[1:, None], slots[:, None]
            cut[..., 4], cut[..., 5] = num_members + starts, np.minimum(self.seqs_of_block, n - starts)
            members[num_members : num_members + n] = group.members
            of_sequence[group.members] += (num_keys, count)
            num_pieces, num_members = new, num_members + n
        self._tensor.copy_(torch.from_numpy(array), non_blocking=True)
        self._set = shared


@dataclass
class PagedPlan:
    """A batch over pages, on the device: lengths and tables only, so it serves every layer of a step."""

    block_tables: Tensor  # [num_seqs, max_blocks] int32
    num_tokens: int  # rows of the flat query
    num_decodes: int
    num_splits: int
    split_tokens: int
    few_splits: tuple[int, int]  # the same for rung 6
    # [num_decodes, num_kv_heads] int32, made when needed: of the thread blocks that have left parts, since the last one
    # merges them; 0 between launches.
    counters: Tensor | None = None
    context_lens: Tensor | None = None  # [num_decodes] int32, where query s is of sequence s; else decode_tiles
    decode_tiles: Tensor | None = None  # [num_decodes, 4] int32, as in csrc/paged_attention
    prefill_tiles: Tensor | None = None  # [num_tiles, 4] int32, each of at most TILE_TOKENS tokens
    tile_tokens: int = 0  # of the largest prefill tile
    shared: Sequence[SharedPages] = ()  # of decodes; in `pieces` when the heads are known
    pieces: Pieces | None = None
    gathered: Any = None  # instead of prefill_tiles, for a plainer rung: of each prefill sequence, rows, context_len
    shapes: dict[tuple, Any] = field(default_factory=dict)  # the structs that launchers take besides tensors


class Kernels(attention.Kernels, memory.Kernels):
    RUNGS = {
        "paged_decode": {
            1: launching.named_as_file("paged_attention/paged_decode_1_thread_per_head"),
            2: launching.named_as_file("paged_attention/paged_decode_2_warp_per_head"),
            3: launching.named_as_file("paged_attention/paged_decode_3_grouped"),
            4: launching.named_as_file("paged_attention/paged_decode_4_split_kv"),
            5: launching.named_as_file("paged_attention/paged_decode_5_async"),  # 16-bit; else rung 4, in it
            6: launching.named_as_file("paged_attention/paged_decode_6_tensor_cores"),  # see tensor_cores_take
        },
        "shared_pages": {
            1: launching.named_as_file("paged_attention/paged_decode_5_async"),  # or another rung of paged_decode
            # 16-bit types with head_dim up to 128; else rung 1.
            2: launching.named_as_file("paged_attention/paged_decode_shared"),
        },
    }
    PREFILL = launching.named_as_file("paged_attention/paged_prefill")
    # The other rungs of flash attention want contiguous keys and values: pages are gathered for them.
    OVER_PAGES = {
        rung: (attention.Kernels.RUNGS["flash_attention"][rung][0], f"flash_attention_{rung}_paged") for rung in (4, 6)
    }
    STEP_FILES = (RUNGS["paged_decode"][5][0], RUNGS["paged_decode"][6][0], RUNGS["shared_pages"][2][0], PREFILL[0])

    def least_saved_pages(self, key_cache):
        if self.rungs["shared_pages"] == 1 or "paged_decode" in self.asked or not tensor_cores_take(key_cache):
            return None
        return math.ceil(LEAST_SAVED_BYTES / (2 * key_cache[0].nbytes))

    def plan_attention(self, block_tables, context_lens, query_lens, key_cache, shared=()):
        check_cache(key_cache)
        tables = block_tables.to(torch.int32).contiguous()
        context_lens = np.asarray(context_lens, dtype=np.int32)
        query_lens = np.ones_like(context_lens) if query_lens is None else np.asarray(query_lens, dtype=np.int32)
        decodes = np.flatnonzero(query_lens == 1)
        longest = int(context_lens[decodes].max(initial=0))
        long = _long_splits(len(decodes), longest, key_cache)
        splits = long or _splits(len(decodes), longest, key_cache)
        few = long or _few_splits(context_lens[decodes], key_cache)
        plan = PagedPlan(tables, int(query_lens.sum()), len(decodes), *splits, few)

        def on_device(array: np.ndarray) -> Tensor:
            # Not waiting is safe: from memory that is not pinned the driver takes a copy before it returns.
            array = np.ascontiguousarray(array, dtype=np.int32)
            return torch.from_numpy(array).to(key_cache.device, non_blocking=True)

        if len(decodes) == len(query_lens):
            plan.context_lens, plan.shared = on_device(context_lens), shared
            return plan
        ends = query_lens.cumsum()
        tiles = np.stack((decodes, ends[decodes] - 1, np.ones_like(decodes), context_lens[decodes]), axis=1)
        if self.rungs["flash_attention"] not in self.OVER_PAGES:
            plan.decode_tiles = on_device(tiles)
            prefills = np.flatnonzero(query_lens > 1)
            rows = map(slice, (ends - query_lens)[prefills].tolist(), ends[prefills].tolist())
            plan.gathered = list(zip(prefills.tolist(), rows, context_lens[prefills].tolist(), strict=True))
        else:
            plan.tile_tokens = min(TILE_TOKENS, int(query_lens.max()))
            both = on_device(np.concatenate((tiles, prefill_tiles(context_lens, query_lens))))  # one copy
            plan.decode_tiles, plan.prefill_tiles = both.split([len(tiles), len(both) - len(tiles)])
        return plan

    def decode_plan(self, block_tables, context_lens, max_context_len, key_cache, pieces=None):
        check_cache(key_cache)
        num_seqs = len(block_tables)
        splits = few = _long_splits(num_seqs, max_context_len, key_cache)
        if splits is None:
            # Contexts may be far shorter than the longest: each is cut into as many splits, of some keys at least.
            splits = _splits(num_seqs, max_context_len, key_cache)[0], FEWEST_SPLIT_TOKENS
            few = max(2, _blocks_per_context(num_seqs, key_cache)), FEWEST_SPLIT_TOKENS  # 2, in case contexts differ
        plan = PagedPlan(block_tables, num_seqs, num_seqs, *splits, few)
        plan.context_lens, plan.pieces = context_lens, pieces
        return plan

    def paged_attention_forward(
        self, query, key_cache, value_cache, block_tables, context_lens, query_lens, scale=None, plan=None
    ):
        if query.dtype != key_cache.dtype:
            raise BackendError(f"the cache must have the query's dtype, {query.dtype}, not {key_cache.dtype}")
        if plan is None:
            plan = self.plan_attention(block_tables, context_lens, query_lens, key_cache)
        paged.check_plan(plan, PagedPlan, query)
        query = query.contiguous()
        out = torch.empty_like(query)
        for sequence, rows, context_len in plan.gathered or ():
            pages = plan.block_tables[sequence]
            key, value = (self.gather_pages(cache, pages, context_len)[None] for cache in (key_cache, value_cache))
            out[rows] = self.attention_forward(query[None, rows], key, value, True, scale)[0]
        if plan.num_decodes:
            self._decode(query, (key_cache, value_cache), plan, scale, out)
        if plan.prefill_tiles is not None:
            self._prefill(query, (key_cache, value_cache), plan, scale, out)
        return out

    def _decode(self, query: Tensor, caches: tuple[Tensor, Tensor], plan: PagedPlan, scale, out: Tensor) -> None:
        """Write the rows of `out` that belong to the plan's decodes."""
        key_cache, _ = caches
        if plan.shared and plan.pieces is None:
            plan.pieces = Pieces(plan.num_decodes, query.shape[1], key_cache)
            plan.pieces.set(plan.shared)
        if plan.pieces is not None:
            self._decode_shared(query, caches, plan, scale, out)
            return
        rung, tiles, tables = self.rungs["paged_decode"], plan.decode_tiles, plan.block_tables
        if rung == 6 and not tensor_cores_take(key_cache):
            rung = 5
        splits = plan.few_splits if rung == 6 else (plan.num_splits, plan.split_tokens)
        launcher = Kernels.RUNGS["paged_decode"][rung]
        launch = self.launch[launcher]
        shape = self._shape(launcher, query, key_cache, plan, plan.num_decodes, scale, splits)
        if rung >= 4:
            lse = parts = None
            if splits[0] > 1:
                lse = query.new_empty((plan.num_decodes, query.shape[1], splits[0]), dtype=torch.float32)
                parts = lse.new_empty((*lse.shape, query.shape[2]))
                if rung >= 5 and plan.counters is None:
                    plan.counters = lse.new_zeros(plan.num_decodes, key_cache.shape[2], dtype=torch.int32)
            counters = [plan.counters] if rung >= 5 else []
            launch(query, *caches, tables, plan.context_lens, tiles, out, parts, lse, *counters, shape)
        elif tiles is None:
            launch(query, *caches, tables, plan.context_lens, out, shape)
        else:
            # The plainer rungs know nothing of tiles: collect the rows of the decodes, and put the results back.
            seqs, rows, _, lens = tiles.unbind(1)
            part = torch.empty_like(query[rows])
            launch(query[rows], *caches, tables[seqs], lens.contiguous(), part, shape)
            out[rows] = part

    def _decode_shared(self, query: Tensor, caches: tuple, plan: PagedPlan, scale, out: Tensor) -> None:
        """Write the rows of `out`, all of them decodes, and read the plan's pieces once."""
        launcher, pieces = Kernels.RUNGS["shared_pages"][2], plan.pieces
        shape = self._shape(launcher, query, caches[0], plan, plan.num_decodes, scale, plan.few_splits)
        num_parts = MAX_PIECES_OF_SEQUENCE + plan.few_splits[0]
        lse = query.new_empty((plan.num_decodes, query.shape[1], num_parts), dtype=torch.float32)
        parts = lse.new_empty((*lse.shape, query.shape[2]))
        given = pieces.pieces, pieces.members, pieces.shared, out, parts, lse
        numbers = len(pieces.pieces), MAX_PIECES_OF_SEQUENCE
        self.launch[launcher](query, *caches, plan.block_tables, plan.context_lens, *given, *numbers, shape)

    def _prefill(self, query: Tensor, caches: tuple[Tensor, Tensor], plan: PagedPlan, scale, out: Tensor) -> None:
        """Write the rows of `out` that belong to the plan's prefills."""
        key_cache, _ = caches
        (_, num_heads, head_dim), (_, block_size, num_kv_heads, _) = query.shape, key_cache.shape
        tables = plan.block_tables
        if query.dtype.itemsize == 2:
            query, scale = attention.with_positive_scale(query, scale)
        for tiles in plan.prefill_tiles.split(launching.MAX_GRID):  # tiles are the second direction of the grid
            pages = [query, *caches, tables, tiles, out]
            if query.dtype.itemsize == 2:
                rung = self.flash_rung(query.dtype, head_dim, num_heads // num_kv_heads)
                if rung == 6 and "flash_attention" not in self.asked and math.gcd(block_size, 128) < SMALLEST_BOX:
                    rung = 4
                sizes = [len(tiles), plan.tile_tokens]
                if rung == 6:
                    pages.append(tiles.new_empty(1))  # counts the tiles that have been taken
                    sizes += [len(query), len(caches[0])]
                sizes += [num_heads, num_kv_heads, head_dim, block_size, tables.shape[1]]
                self.launch[self.OVER_PAGES[rung]](*pages, *sizes, scale, dtype_code(query, TAKES))
            else:  # tensor cores take 16-bit types
                shape = self._shape(Kernels.PREFILL, query, key_cache, plan, len(tiles), scale, (1, 1))
                self.launch[Kernels.PREFILL](*pages, shape)

    def _shape(self, launcher: Launcher, query: Tensor, key_cache: Tensor, plan: PagedPlan, num_tiles, scale, splits):
        """What a launcher takes besides tensors, checked and made once for all layers that follow a plan."""
        (_, num_heads, head_dim), (_, block_size, num_kv_heads, _) = query.shape, key_cache.shape
        key = launcher, num_tiles, num_heads, scale
        if key not in plan.shapes:
            tile_tokens = plan.tile_tokens if launcher == Kernels.PREFILL else 1
            of_heads = num_heads, num_kv_heads, head_dim
            of_pages = block_size, plan.block_tables.shape[1], *splits
            numbers = head_dim**-0.5 if scale is None else scale, dtype_code(query, TAKES)
            make = self.module(launcher[0]).structs["PagedShape"]
            plan.shapes[key] = make(num_tiles, tile_tokens, *of_heads, *of_pages, *numbers)
        return plan.shapes[key]


def tensor_cores_take(key_cache: Tensor) -> bool:
    """Whether rung 6, and shared pages, take such a cache; else a decode goes to rung 5."""
    return key_cache.dtype.itemsize == 2 and key_cache.shape[3] <= 128


def _splits(num_seqs: int, max_context_len: int, key_cache: Tensor) -> tuple[int, int]:
    """`choose_splits` for a context rounded up, so that a growing one does not make it choose anew in every step."""
    rounded = -(-max_context_len // FEWEST_SPLIT_TOKENS) * FEWEST_SPLIT_TOKENS
    return choose_splits(num_seqs * key_cache.shape[2], rounded, _num_multiprocessors(key_cache.device))


def _long_splits(num_seqs: int, max_context_len: int, key_cache: Tensor) -> tuple[int, int] | None:
    """`(num_splits, split_tokens)` where a thread block for each context keeps memory busy; None elsewhere.

    Rung 6 does that with about one for each multiprocessor; the plainer ones, for other caches, have less in flight.
    """
    enough, num_blocks = SHARE_THAT_SATURATES * _num_multiprocessors(key_cache.device), num_seqs * key_cache.shape[2]
    if num_blocks < enough or not tensor_cores_take(key_cache):
        return None
    split_tokens = max(LONG_SPLIT_TOKENS, LONG_SPLIT_TOKENS_EACH * num_blocks)
    return max(1, min(MOST_LONG_SPLITS, -(-max_context_len // split_tokens))), split_tokens


def _blocks_per_context(num_seqs: int, key_cache: Tensor) -> int:
    """Of rung 6: a thread block for each multiprocessor (measured on an H100: it keeps as much in flight as a
    multiprocessor can read, and each split more has its cost), but at least one for a context."""
    return max(1, _num_multiprocessors(key_cache.device) // max(1, num_seqs * key_cache.shape[2]))


def _few_splits(context_lens: np.ndarray, key_cache: Tensor) -> tuple[int, int]:
    """`(num_splits, split_tokens)` for rung 6, whose splits are as long as those of a context of average length."""
    num_blocks = max(1, len(context_lens) * _blocks_per_context(len(context_lens), key_cache))
    split_tokens = max(FEWEST_SPLIT_TOKENS, -(-int(context_lens.sum()) // num_blocks))
    return max(1, -(-int(context_lens.max(initial=0)) // split_tokens)), split_tokens


@cache
def choose_splits(num_blocks: int, max_context_len: int, num_multiprocessors: int) -> tuple[int, int]:
    """How many thread blocks share a context, and how many keys each takes: `(num_splits, split_tokens)`.

    More splits fill the card and even out its last wave of thread blocks; each costs its start. `num_blocks`: of an
    unsplit decode, `num_seqs * num_kv_heads`.
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


@cache
def _num_multiprocessors(device: torch.device) -> int:
    """Of the card; an H100's, if the emulator stands for one."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 132


def prefill_tiles(context_lens: np.ndarray, query_lens: np.ndarray) -> np.ndarray:
    """The queries of every sequence that has several, cut into tiles, `[num_tiles, 4]`: sequence, first row of the flat
    query, number of tokens, keys that the first of them sees. The longest sequence comes first, and of each sequence
    the tile that sees most, so that no thread block starts on a long one when the others are done. The tiles of a
    sequence stay together, so that its keys are in the L2 cache for all of them.
    """
    lens = np.where(query_lens > 1, query_lens, 0)
    counts = -(-lens // TILE_TOKENS)
    seqs = np.repeat(np.arange(len(lens)), counts)
    first = (np.arange(len(seqs)) - np.repeat(counts.cumsum() - counts, counts)) * TILE_TOKENS
    rows = (query_lens.cumsum() - query_lens)[seqs] + first
    visible = (context_lens - lens)[seqs] + first + 1
    tiles = np.stack((seqs, rows, np.minimum(TILE_TOKENS, lens[seqs] - first), visible), axis=1)
    return tiles[np.lexsort((-visible, seqs, -context_lens[seqs]))]


def check_cache(cache: Tensor) -> None:
    """Raise `BackendError` for a cache that the kernels do not take."""
    num_blocks, block_size, _, head_dim = cache.shape
    dtype_code(cache, TAKES)
    attention.check_head_dim(head_dim, "paged attention")
    if num_blocks * block_size >= 2**31:
        raise BackendError(f"paged attention counts slots in 31 bits, the pool has {num_blocks * block_size}")


@checked(Torch)
def plan_attention(
    block_tables: Tensor,
    context_lens: Sequence[int] | Tensor,
    query_lens: Sequence[int] | Tensor | None,
    key_cache: Tensor,
    *,
    backend: Backend = "auto",
) -> Any:
    sizes = Sizes()
    sizes.take("num_blocks block_size num_kv_heads head_dim", FLOATS, key_cache=key_cache)
    lengths = sizes.take_pages(block_tables, context_lens, query_lens)
    return run(backend, "plan_attention", key_cache, block_tables, *lengths, key_cache)


@checked(Torch)
def paged_attention_forward(
    query: Tensor,
    key_cache: Tensor,
    value_cache: Tensor,
    block_tables: Tensor,
    context_lens: Sequence[int] | Tensor,
    *,
    query_lens: Sequence[int] | Tensor | None = None,
    scale: float | None = None,
    plan: Any = None,
    backend: Backend = "auto",
) -> Tensor:
    """Here the query may also be `[num_seqs, q_len, num_heads, head_dim]`: the queries of a sequence come first in its
    row (`query_lens`; None: all `q_len`), and rows beyond them give 0. A plan has been checked by `plan_attention`.
    """
    sizes = Sizes()
    sizes.take_caches(key_cache, value_cache, FLOATS)
    flat = isinstance(query, Tensor) and query.ndim == 3
    sizes.take("num_tokens num_heads head_dim" if flat else "num_seqs q_len num_heads head_dim", FLOATS, query=query)
    sizes.check_heads()
    scale = None if scale is None else number("scale", scale)
    query = aligned(query)

    def attend(query: Tensor, *lengths: Any) -> Tensor:
        pages = key_cache, value_cache, block_tables, *lengths
        return run(backend, "paged_attention_forward", query, query, *pages, scale, plan)

    if plan is not None:
        return attend(query.flatten(0, -3), context_lens, query_lens).view(query.shape)
    if not flat and query_lens is None:
        query_lens = [sizes["q_len"]] * sizes["num_seqs"]
    context_lens, query_lens = sizes.take_pages(block_tables, context_lens, query_lens)
    if flat:
        total = sum(query_lens)
        require(len(query) == total, f"query has {len(query)} rows for query_lens that add up to {total}")
        return attend(query, context_lens, query_lens)
    q_len = sizes["q_len"]
    require(max(query_lens, default=0) <= q_len, f"query_lens {query_lens} exceed q_len={q_len}")
    real = torch.arange(q_len, device=query.device) < torch.tensor(query_lens, device=query.device)[:, None]
    out = torch.zeros_like(query)
    out[real] = attend(query[real], context_lens, query_lens)
    return out
