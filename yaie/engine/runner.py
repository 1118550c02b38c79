"""One step of the model: lay the scheduled tokens out as a batch, run the decoder, choose the next tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate, chain, compress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from yaie.engine.output import TokenLogprobs
from yaie.engine.request import Request
from yaie.kernels import sampling
from yaie.kernels.checks import require
from yaie.kernels.kv_cache import KVCacheManager
from yaie.kernels.ops import Operations
from yaie.models.backend import choose_operations
from yaie.models.batch import Batch
from yaie.models.cuda_graph import DecodeGraphs
from yaie.parallel.group import ALONE, Group
from yaie.parallel.ranks import OneRank, Ranks
from yaie.parallel.shards import local_config


@dataclass(frozen=True)
class StepResult:
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


class ModelRunner:
    """Runs the model over pages. Holds nothing that belongs to a request.

    On a GPU the work of a step is only queued, and the CPU goes on; it waits when it first looks at a number of the
    result. So nothing here looks at one before all of the step but the draws has been queued.

    graphs: runs the decode steps that it `takes`, faster; None where there is no such thing
    """

    def __init__(self, model: Any, kv: KVCacheManager, operations: Operations, graphs: Any = None) -> None:
        self.model, self.kv, self.operations, self.graphs = model, kv, operations, graphs
        self.ranks: OneRank | Ranks = OneRank(self)  # all that compute a step

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
    def run(self, scheduled: dict[Request, int]) -> dict[Request, StepResult]:
        """Compute `scheduled[request]` tokens of each request; those that are computed to the end get a new token.

        A request whose numbers are not finite gets an error, and no other does.
        """
        usual = torch.get_default_device()
        require(usual.type != "meta", "torch's default device must be one whose tensors hold numbers", usual)
        batch = self.make_batch(scheduled)
        complete = [num_tokens == request.num_uncomputed_tokens for request, num_tokens in scheduled.items()]
        requests, rows = list(compress(scheduled, complete)), None
        if len(requests) < batch.token_ids.shape[0]:
            rows = [end - 1 for end in compress(accumulate(batch.query_lens), complete)]
        hidden, logits = self.ranks.call("forward", batch, rows)
        likeliest, bad = self.not_finite(scheduled, hidden, requests, logits)
        if bad:
            sound = [request not in bad for request in requests]
            requests, likeliest = list(compress(requests, sound)), list(compress(likeliest, sound))
            logits = logits[torch.tensor(sound, dtype=torch.bool, device=logits.device)]
        results = {request: StepResult(error=bad.get(request)) for request in scheduled}
        return results | self.next_tokens(requests, logits, likeliest)

    def _on_device(self, tensor: torch.Tensor) -> torch.Tensor:
        """A copy on the model's device. Nothing waits: the copy to a GPU is made from pinned memory."""
        if self.kv.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.kv.device, non_blocking=True)

    def make_batch(self, scheduled: dict[Request, int]) -> Batch:
        """The tensors of a step: the uncomputed tokens of each request, packed, and where their pages are."""
        token_ids: list[np.ndarray] = []
        positions: list[int] = []
        slots: list[int] = []
        context_lens: list[int] = []
        tables = [self.kv.block_tables[request.request_id] for request in scheduled]
        width = max(map(len, tables))
        for request, num_tokens in scheduled.items():
            start = request.num_computed_tokens
            end = start + num_tokens
            token_ids.append(request.token_ids[start:end])
            positions += range(start, end)
            slots += self.kv.slot_mapping(request.request_id, start, end)
            context_lens.append(end)
        padded = chain.from_iterable(table + [0] * (width - len(table)) for table in tables)
        block_tables = np.fromiter(padded, np.int64, len(tables) * width)
        # One array, so that one copy brings all of it to the device; the fields are views of it.
        packed = torch.from_numpy(np.concatenate((*token_ids, positions, slots, block_tables, context_lens)))
        sizes = [len(positions)] * 3 + [len(block_tables), len(tables)]
        *of_tokens, block_tables, lens = self._on_device(packed).split(sizes)
        return Batch(*of_tokens, block_tables.view(-1, width), lens, list(scheduled.values()), context_lens)

    def not_finite(
        self, scheduled: dict[Request, int], hidden: torch.Tensor, complete: list[Request], logits: torch.Tensor
    ) -> tuple[list[int], dict[Request, str]]:
        """The likeliest token of each row of `logits`, and what is wrong with whom: the only look for NaN.

        Before anything is published: keys and values that went wrong must not be found by others. (A token sees itself,
        so if its key or value is not finite, its hidden state is not either.)

        hidden: `[num_tokens, hidden_size]`, of all scheduled tokens
        logits: `[len(complete), vocab_size]`, after the last token of each request that is complete
        """
        total, largest, likeliest = on_host(hidden.sum(dtype=torch.float32), *logits.max(dim=-1))
        bad: dict[Request, str] = {}
        if not math.isfinite(total):
            bad_rows = (~hidden.isfinite().all(dim=-1)).cpu().numpy()
            parts = np.split(bad_rows, np.cumsum(list(scheduled.values()))[:-1])
            error = "the model computed numbers that are not finite for its tokens"
            bad = {request: error for request, part in zip(scheduled, parts, strict=True) if part.any()}
        error = "the logits are NaN, infinite, or all -infinity: there is no token to choose"
        for request, value in zip(complete, largest, strict=True):
            if not math.isfinite(value):  # NaN if any is; -infinity if all are
                bad.setdefault(request, error)
        return likeliest, bad

    def next_tokens(
        self, requests: list[Request], logits: torch.Tensor, likeliest: list[int]
    ) -> dict[Request, StepResult]:
        """A token for each request from its row of `logits`, `[num_requests, vocab_size]`, which are sound.

        `likeliest`, the largest of each row, is the answer of all requests that need no draw.
        """
        drawn = [row for row, request in enumerate(requests) if not request.params.takes_likeliest]
        if drawn:
            chosen = [requests[row] for row in drawn]
            for request in chosen:
                request.begin_draw()
            tokens = self.operations.sample(
                logits[self._on_device(torch.tensor(drawn))],
                **{name: [getattr(request.params, name) for request in chosen] for name in sampling.RULES},
                generator=[request.generator for request in chosen],
                prompt_tokens=[request.prompt_token_ids for request in chosen],
                output_tokens=[request.output_token_ids for request in chosen],
            )
            for row, token_id in zip(drawn, tokens.tolist(), strict=True):
                likeliest[row] = token_id
                requests[row].num_drawn = requests[row].num_output_tokens + 1
        results, vocab_size = {}, logits.shape[-1]
        for request, row, token_id in zip(requests, logits, likeliest, strict=True):
            if 0 <= token_id < vocab_size:
                results[request] = StepResult(token_id, token_logprobs(row, token_id, request.params.logprobs))
            else:  # what a draw gives from numbers that are not finite
                results[request] = StepResult(error="its parameters leave no probabilities to draw from")
        return results


def on_host(*tensors: torch.Tensor) -> list[Any]:
    """Tensors as lists, after a single wait for their device."""
    if tensors[0].is_cuda:
        tensors = tuple(tensor.to("cpu", non_blocking=True) for tensor in tensors)
        torch.cuda.current_stream().synchronize()
    return [tensor.tolist() for tensor in tensors]


def token_logprobs(logits: torch.Tensor, token_id: int, num_top: int | None) -> TokenLogprobs | None:
    """Log-probabilities of a row of logits [vocab_size]: of the chosen token and of the `num_top` likeliest."""
    if num_top is None:
        return None
    logprobs = logits.float().log_softmax(dim=-1)
    values, ids = logprobs.topk(min(num_top, len(logprobs)))
    return TokenLogprobs(token_id, logprobs[token_id].item(), list(zip(ids.tolist(), values.tolist(), strict=True)))
