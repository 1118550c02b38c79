"""Decode steps from CUDA graphs: the launches of a whole step are recorded once and started with one call.

A decode step of a small model is some hundred launches of a few microseconds each. The CPU needs about as long to ask
for one as the GPU to do it, so the GPU waits. Replaying a recording costs the CPU one call, but what is recorded is
fixed: which kernels, how many thread blocks, which addresses. So

* a graph is for one number of sequences. There is one for each of a few sizes ("buckets"), and a batch takes the next
  larger one, whose other rows are padding (`fill`);
* everything that changes from step to step lies in tensors that stay where they are, and is filled in before a replay.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

import torch

from yaie.kernels.checks import integer
from yaie.kernels.kv_cache import KVCacheManager
from yaie.kernels.ops import Operations
from yaie.kernels.ops.paged_attention import Pieces
from yaie.models.batch import Batch

Step = Callable[[], torch.Tensor]


def bucket_sizes(max_num_seqs: int) -> list[int]:
    """The numbers of sequences for which graphs are made: 1, 2, 4, then multiples of 8, and the largest itself."""
    integer("max_num_seqs", max_num_seqs, 1)
    sizes = {1, 2, 4, *range(8, max_num_seqs, 8), max_num_seqs}
    return sorted(size for size in sizes if size <= max_num_seqs)


def bucket_for(num_seqs: int, sizes: Sequence[int]) -> int | None:
    """The smallest of `sizes`, which ascend, that holds `num_seqs` sequences; None if there are too many for all."""
    integer("num_seqs", num_seqs, 1)
    place = bisect_left(sizes, num_seqs)
    return sizes[place] if place < len(sizes) else None


def fill(static: Batch, batch: Batch) -> None:
    """Copy a decode batch into the tensors that a graph reads, and make the rows that are left over padding.

    A row of padding changes nothing and reads nothing that is not there: slot -1 stores nothing, a context of 0 sees no
    page, and token 0 is in every vocabulary. Block tables are not read beyond a context; those of `static` are as wide
    as any batch's can be.
    """
    num_seqs, width = batch.block_tables.shape
    static.token_ids[:num_seqs] = batch.token_ids
    static.token_ids[num_seqs:] = 0
    static.positions[:num_seqs] = batch.positions
    static.slot_mapping[:num_seqs] = batch.slot_mapping
    static.slot_mapping[num_seqs:] = -1
    static.context_lens[:num_seqs] = batch.context_lens
    static.context_lens[num_seqs:] = 0
    static.block_tables[:num_seqs, :width] = batch.block_tables


def eager(step: Step) -> Step:
    """Instead of a `Capture`, where there is no GPU: every replay runs the step (of the padded batch) again."""
    return step


class Capture:
    """Records the launches of a step, and returns a function that replays them.

    All recordings of one `Capture` compute in one pool of memory: the next replay overwrites a result. The pool lives
    as long as one of its graphs does, so each engine has its own, or the second could record nothing after the first.
    """

    def __init__(self) -> None:
        self._graphs: list[torch.cuda.CUDAGraph] = []

    def __call__(self, step: Step) -> Step:
        side = torch.cuda.Stream()  # a first run compiles and loads kernels, and gets memory: a recording must not
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            step()
            step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._graphs[0].pool() if self._graphs else None):
            result = step()
        self._graphs.append(graph)

        def replay() -> torch.Tensor:
            graph.replay()
            return result

        return replay


class DecodeGraphs:
    """The decode steps of one model over one pool, a graph for each bucket, captured when it is first needed.

    Raises BackendError if the kernels do not take a cache of this dtype or shape.
    """

    def __init__(
        self,
        model: Any,  # called as `model(batch, kv, operations, plan)`
        kv: KVCacheManager,
        operations: Operations,
        max_num_seqs: int,  # the largest bucket
        max_model_len: int,
        capture: Callable[[Step], Step] | None = None,  # makes a replay out of a step; None: a `Capture`
    ) -> None:
        self.model, self.kv, self.operations = model, kv, operations
        self.capture = capture or Capture()
        self.sizes = bucket_sizes(max_num_seqs)
        self.max_context_len = min(max_model_len, kv.num_blocks * kv.block_size)
        one = torch.ones(1, 1, dtype=torch.int32)
        operations.decode_plan(one, one[0], self.max_context_len, kv.key_cache[0])  # refuses now, if ever
        # The tensors of the largest bucket, in the order of the fields of `Batch`. All buckets share their memory.
        rows = self.sizes[-1]
        fields = torch.zeros(4, rows, dtype=torch.int64, device=kv.device).unbind()
        tables = fields[0].new_zeros(rows, kv.blocks_needed(self.max_context_len))
        tensors = (*fields[:3], tables, fields[3])
        # Contexts are not known yet while a graph is captured; there is a plan, so the host is not asked for them.
        self._static = {size: Batch(*(x[:size] for x in tensors), [1] * size, [0] * size) for size in self.sizes}
        self.replays: dict[int, Step] = {}
        self.pieces: dict[int, Pieces] = {}  # by bucket: shared pages that its graph reads once
        self.with_shared_pages: DecodeGraphs | None = None  # made when there are some

    def takes(self, batch: Batch) -> bool:
        """Whether every sequence of the batch has one new token, and there is a bucket for so many."""
        num_tokens = batch.token_ids.shape[0]
        return num_tokens == len(batch.query_lens) <= self.sizes[-1]

    def for_batch(self, batch: Batch) -> "DecodeGraphs":
        """Those that `run` the batch. Where it has pages that are to be read once, these are second graphs over the
        same tensors, so that batches without such pages lose nothing."""
        if not batch.shared:
            return self
        if self.with_shared_pages is None:
            self.with_shared_pages = copy(self)
            self.with_shared_pages.replays, self.with_shared_pages.pieces = {}, {}
        size, pieces = bucket_for(len(batch.query_lens), self.sizes), self.with_shared_pages.pieces
        if size not in pieces:
            pieces[size] = Pieces(size, self.model.local.num_heads, self.kv.key_cache[0])
        pieces[size].set(batch.shared)
        return self.with_shared_pages

    def run(self, batch: Batch) -> torch.Tensor:
        """The hidden states `[num_seqs, hidden_size]` of a batch that it `takes`; the next run overwrites them."""
        num_seqs = len(batch.query_lens)
        size = bucket_for(num_seqs, self.sizes)
        static = self._static_batch(size)
        fill(static, batch)  # before a capture, too: it runs the step, which stores keys where the slots say
        if size not in self.replays:
            self.replays[size] = self.capture(lambda: self._step(static))
        return self.replays[size]()[:num_seqs]

    def _static_batch(self, size: int) -> Batch:
        """The tensors that the graph of a bucket reads, always the same ones."""
        return self._static[size]

    def _step(self, static: Batch) -> torch.Tensor:
        tables, context_lens = static.block_tables.int(), static.context_lens.int()
        # Splits are chosen for the longest context there can be: what is captured must serve all shorter ones.
        pages = tables, context_lens, self.max_context_len, self.kv.key_cache[0]
        plan = self.operations.decode_plan(*pages, self.pieces.get(len(tables)))
        return self.model(static, self.kv, self.operations, plan)
