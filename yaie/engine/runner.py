"""One step of the model: lay the scheduled tokens out as a batch, run the decoder, choose the next tokens."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from yaie.engine.output import TokenLogprobs
from yaie.engine.request import Request
from yaie.kernels import sampling
from yaie.kernels.checks import require
from yaie.kernels.kv_cache import KVCacheManager
from yaie.kernels.ops import Operations
from yaie.kernels.sampling import Draws, Settings
from yaie.models.backend import choose_operations
from yaie.models.batch import Batch
from yaie.models.cuda_graph import DecodeGraphs
from yaie.parallel.group import ALONE, Group
from yaie.parallel.ranks import OneRank, Ranks
from yaie.parallel.shards import local_config


class StepResult(NamedTuple):
    """What a step gave one request: a token, or none (its prompt goes on in the next step), or an error."""

    token_id: int | None = None
    logprobs: TokenLogprobs | None = None
    error: str | None = None


class Shard:
    """What each rank has: its part of the model, and a runner over its part of the pool. An engine of one rank has all.

    All ranks call the same methods in the same order. Only the model writes to the pool (a page that is shared is full,
    so none is copied to be written), and a batch says where; so ranks other than 0 keep no accounts of pages.
    """

    def __init__(self, group: Group = ALONE, model: Any = None) -> None:
        self.group, self.model = group, model
        self.runner: ModelRunner | None = None
        self.operations: Operations | None = None  # chosen once

    def load(self, folder: Path, dtype: torch.dtype) -> tuple:
        """As `load_model`."""
        from yaie.models.loader import load_model

        loaded = load_model(folder, dtype, self.group.device, self.group)
        self.model = loaded[0]
        return loaded

    def make_runner(
        self, num_blocks: int, block_size: int, backend: str | Operations, graphs: tuple[int, int] | None
    ) -> ModelRunner:
        """A runner over a new pool; the old one is freed before.

        graphs: the largest number of sequences, and of their tokens; None: every step asks for each operation
        """
        self.runner, config = None, self.model.config
        shape = num_blocks, block_size, local_config(config, self.group.size).num_kv_heads, config.head_dim
        kv = KVCacheManager(*shape, self.model.dtype, config.num_layers, self.model.device)
        self.operations = self.operations or choose_operations(backend, self.model, kv)
        can_record = graphs and self.operations.name == "cuda"
        recorded = DecodeGraphs(self.model, kv, self.operations, *graphs) if can_record else None
        self.runner = ModelRunner(self.model, kv, self.operations, recorded)
        return self.runner

    def forward(self, batch: Batch, rows: list[int] | None) -> tuple[torch.Tensor, torch.Tensor]:
        return self.runner.forward(batch, rows)


@dataclass(eq=False)
class Launched:
    """A step that the device has been asked for, and where its results come."""

    scheduled: dict[Request, int]
    requests: list[Request]  # those that get a token
    tokens: torch.Tensor  # theirs, on the device: the next step can take them before the host has seen them
    logits: torch.Tensor  # from which these were chosen
    on_host: tuple[torch.Tensor, ...]  # the tokens, and a mark for each computed token: NaN if something is wrong
    arrived: torch.cuda.Event | None  # when `on_host` is filled; None where nothing is waited for


class ModelRunner:
    """Runs the model over pages. Holds nothing that a step could not do without.

    On a GPU the work of a step is only queued (`launch`), and the CPU goes on; it waits when it first looks at a number
    of the result (`results`): once a step.

    graphs: runs the decode steps that it `takes`, faster; None where there is no such thing
    """

    def __init__(self, model: Any, kv: KVCacheManager, operations: Operations, graphs: Any = None) -> None:
        self.model, self.kv, self.operations, self.graphs = model, kv, operations, graphs
        self.ranks: OneRank | Ranks = OneRank(self)  # all that compute a step
        self.tables = TableRows(kv)
        self._choice: Choice | None = None  # of the last step

    @torch.inference_mode()
    def forward(self, batch: Batch, rows: list[int] | None) -> tuple[torch.Tensor, torch.Tensor]:
        """The hidden states of all tokens, `[num_tokens, hidden_size]`, and the logits of those in `rows` (None: all),
        `[len(rows), vocab_size]`."""
        if batch.token_ids.device != self.kv.device:  # it has come from rank 0
            batch = batch.to(self.kv.device)
        if self.graphs is not None and self.graphs.takes(batch):
            hidden = self.graphs.run(batch)
        else:
            hidden = self.model(batch, self.kv, self.operations)
        last = hidden if rows is None else hidden[self._on_device(torch.tensor(rows, dtype=torch.int64))]
        return hidden, self.model.logits(last)

    @torch.inference_mode()
    def launch(self, scheduled: dict[Request, int], before: Launched | None = None) -> Launched:
        """Ask the device for `scheduled[request]` tokens of each request; those that are computed to the end get a new
        token. Nothing here waits for the device.

        before: the step whose tokens are not known yet, if there is one; a request has their places instead
        """
        usual = torch.get_default_device()
        require(usual.type != "meta", "torch's default device must be one whose tensors hold numbers", usual)
        batch = self.make_batch(scheduled)
        if before is not None:
            batch.token_ids = take_known(batch.token_ids, before.tokens)
        requests, rows, context_lens = list(scheduled), None, batch.context_lens
        if len(requests) < len(batch.token_ids):  # some are prompts, which may go on in the next step
            complete = [i for i, r in enumerate(requests) if scheduled[r] == r.num_uncomputed_tokens]
            ends = list(accumulate(batch.query_lens))
            requests, rows = [requests[i] for i in complete], [ends[i] - 1 for i in complete]
            context_lens = context_lens[self._on_device(torch.tensor(complete, dtype=torch.int64))]
        hidden, logits = self.ranks.call("forward", batch, rows)
        tokens = self.next_tokens(requests, logits, context_lens)
        # The only look for NaN. A token sees itself, so if its key or value is not finite, its hidden state is not
        # either. 0 times what is not finite is NaN.
        marks = (hidden * 0).sum(dim=-1, dtype=torch.float32)
        on_host = tuple(tensor.to("cpu", non_blocking=True) for tensor in (tokens, marks))
        arrived = None
        if tokens.is_cuda:
            arrived = torch.cuda.Event()
            arrived.record()
        return Launched(scheduled, requests, tokens, logits, on_host, arrived)

    def results(self, launched: Launched) -> dict[Request, StepResult]:
        """What a step gave, after a wait for it. Who has numbers that are not finite gets an error, and nobody else.

        Before anything is published: keys and values that went wrong must not be found by others.
        """
        if launched.arrived is not None:
            launched.arrived.synchronize()
        tokens, marks = (tensor.numpy() for tensor in launched.on_host)
        results = dict.fromkeys(launched.scheduled, StepResult())
        for row, (request, token_id) in enumerate(zip(launched.requests, tokens.tolist(), strict=True)):
            if not 0 <= token_id < launched.logits.shape[-1]:
                error = "the logits are NaN, infinite, or all -infinity: there is no token to choose"
                results[request] = StepResult(error=error)
            elif request.params.logprobs is None:
                results[request] = StepResult(token_id)
            else:
                logprobs = token_logprobs(launched.logits[row], token_id, request.params.logprobs)
                results[request] = StepResult(token_id, logprobs)
        if np.isnan(marks).any():
            parts = np.split(np.isnan(marks), np.cumsum(list(launched.scheduled.values()))[:-1])
            error = "the model computed numbers that are not finite for its tokens"
            for request, part in zip(launched.scheduled, parts, strict=True):
                if part.any():
                    results[request] = StepResult(error=error)
        return results

    def _on_device(self, tensor: torch.Tensor) -> torch.Tensor:
        return sampling.to_device(tensor, self.kv.device)

    def make_batch(self, scheduled: dict[Request, int]) -> Batch:
        """The tensors of a step: the uncomputed tokens of each request, packed, and where their pages are."""
        size, num_seqs = self.kv.block_size, len(scheduled)
        starts = np.fromiter((request.num_computed_tokens for request in scheduled), np.int64, num_seqs)
        query_lens = np.fromiter(scheduled.values(), np.int64, num_seqs)
        context_lens, ends = starts + query_lens, query_lens.cumsum()
        tables = self.tables.of(scheduled, starts, self.kv.blocks_needed(int(context_lens.max())))
        row_of = np.arange(num_seqs).repeat(query_lens)  # of each token
        positions = np.arange(ends[-1]) + (context_lens - ends)[row_of]
        slots = tables[row_of, positions // size] * size + positions % size
        token_ids = [
            request.tokens_from(start, n)
            for (request, n), start in zip(scheduled.items(), starts.tolist(), strict=True)
        ]
        # One array, so that one copy brings all of it to the device; the fields are views of it.
        packed = np.concatenate((*token_ids, positions, slots, tables.ravel(), context_lens))
        sizes = [len(positions)] * 3 + [tables.size, num_seqs]
        *of_tokens, block_tables, lens = self._on_device(torch.from_numpy(packed)).split(sizes)
        host = query_lens.tolist(), context_lens.tolist()
        return Batch(*of_tokens, block_tables.view(tables.shape), lens, *host)

    def next_tokens(self, requests: list[Request], logits: torch.Tensor, context_lens: torch.Tensor) -> torch.Tensor:
        """A token for each request from its row of `logits`, `[num_requests, vocab_size]`, on the device: -1 where the
        logits are not sound.

        Which of its numbers a request draws follows from how many tokens it has generated (`context_lens`), so it is
        the same in any batch, and again if a step is cut.
        """
        choice = self._choice
        if choice is None or choice.requests != requests:
            choice = self._choice = Choice.of(requests, self.kv.device)
        if choice.has_penalty:
            prompts, outputs = zip(
                *((request.prompt_token_ids, request.output_token_ids) for request in requests), strict=True
            )
            logits = sampling.penalised(logits, *choice.penalties, prompts, outputs)
        return self.operations.choose(logits, choice.draws, context_lens - choice.prompt_lens)


class Choice(NamedTuple):
    """How the requests of a step choose their tokens. It stays while they are the same, so nothing is sent again."""

    requests: list[Request]
    draws: Draws
    prompt_lens: torch.Tensor  # on the device
    penalties: tuple[list[float], list[float]]  # for repetition and for presence
    has_penalty: bool

    @classmethod
    def of(cls, requests: list[Request], device: torch.device) -> Choice:
        params = [request.params for request in requests]
        settings = Settings(*([getattr(each, name) for each in params] for name in Settings._fields))
        draws = Draws(settings, [request.seed for request in requests], device)
        lens = torch.tensor([request.num_prompt_tokens for request in requests], dtype=torch.int64)
        penalties = [each.repetition_penalty for each in params], [each.presence_penalty for each in params]
        has_penalty = any(each.has_penalty for each in params)
        return cls(requests, draws, sampling.to_device(lens, device), penalties, has_penalty)


class TableRows:
    """The block tables of a step as an array. The row of a request that decodes is laid once, and gets a page when the
    request does."""

    def __init__(self, kv: KVCacheManager) -> None:
        self.kv = kv
        self.array = np.zeros((0, 0), np.int64)
        self.rows: dict[Request, int] = {}  # of those that decoded in the last step

    def of(self, scheduled: dict[Request, int], starts: np.ndarray, width: int) -> np.ndarray:
        """`[num_seqs, width]`, with 0 or what is left of others behind the pages of a request.

        A row is taken over from the last step only where the request decodes: a prompt may have got other pages since,
        when it was published. (Who comes back after a preemption was not in the last step.)
        """
        rows = {request: self.rows.get(request) if request.is_decode else None for request in scheduled}
        new = [request for request, row in rows.items() if row is None]
        if new or width > self.array.shape[1]:
            self._lay(new, rows, width)
        requests, self.rows = list(rows), {r: row for r, row in rows.items() if r.is_decode} if new else rows
        index = np.fromiter(rows.values(), np.int64, len(rows))
        for i in np.flatnonzero(starts % self.kv.block_size == 0).tolist():  # these begin a page
            page = int(starts[i]) // self.kv.block_size
            self.array[index[i], page] = self.kv.block_tables[requests[i].request_id][page]
        return self.array[index, :width]

    def _lay(self, new: list[Request], rows: dict[Request, int | None], width: int) -> None:
        """Give rows to requests, and write their tables there, as far as `width` pages."""
        shape = np.maximum(self.array.shape, (len(rows), width))
        if tuple(shape) != self.array.shape:  # twice as large, so that this is rare
            (height, old_width), old = self.array.shape, self.array
            self.array = np.zeros(2 * shape, np.int64)
            self.array[:height, :old_width] = old
        free = set(range(len(self.array))).difference(row for row in rows.values() if row is not None)
        for request in new:
            rows[request] = row = free.pop()
            table = self.kv.block_tables[request.request_id][:width]
            self.array[row, : len(table)] = table
            self.array[row, len(table) :] = 0


def take_known(token_ids: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Token ids with those filled in that the host does not know: -1 - place stands for `tokens[place]`.

    A token that is -1 itself (its request is about to end with an error) becomes 0, which every vocabulary has.
    """
    places = (-1 - token_ids).clamp(min=0)
    return torch.where(token_ids < 0, tokens[places].clamp(min=0), token_ids)


def token_logprobs(logits: torch.Tensor, token_id: int, num_top: int | None) -> TokenLogprobs | None:
    """Log-probabilities of a row of logits [vocab_size]: of the chosen token and of the `num_top` likeliest."""
    if num_top is None:
        return None
    logprobs = logits.float().log_softmax(dim=-1)
    values, ids = logprobs.topk(min(num_top, len(logprobs)))
    return TokenLogprobs(token_id, logprobs[token_id].item(), list(zip(ids.tolist(), values.tolist(), strict=True)))
