"""One step of the model: lay the scheduled tokens out as a batch, run the decoder, choose the next tokens, look."""

from __future__ import annotations

from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import torch

from yaie.engine.output import TokenLogprobs
from yaie.engine.request import Request
from yaie.kernels import sampling
from yaie.kernels.checks import require
from yaie.kernels.devices import to_device
from yaie.kernels.sampling import Draws
from yaie.models.batch import Batch, TableRows, pack
from yaie.models.shard import Shard
from yaie.parallel.ranks import OneRank, Ranks


class StepResult(NamedTuple):
    """What a step gave one request: a token, or none (its prompt goes on in the next step), or an error."""

    token_id: int | None = None
    logprobs: TokenLogprobs | None = None
    error: str | None = None


class Launched(NamedTuple):
    """A step that the device has been asked for, and where its results come."""

    scheduled: dict[Request, int]
    requests: list[Request]  # those that get a token
    tokens: torch.Tensor  # theirs, on the device: the next step can take them before the host has seen them
    logits: torch.Tensor  # from which these were chosen
    on_host: tuple[torch.Tensor, ...]  # the tokens, and a mark for each computed token: finite if that is sound
    arrived: torch.cuda.Event | None  # when `on_host` is filled; None where nothing is waited for


class ModelRunner(Shard):
    """Asks for the steps of an engine, and brings back what they gave. What it keeps of a step saves work, no more.

    On a GPU the work of a step is only queued (`launch`), and the CPU goes on; it waits when it first looks at a number
    of the result (`results`): once a step.
    """

    ranks: OneRank | Ranks  # all that compute a step, where this is rank 0
    tables: TableRows | None = None
    # Who took part in the last step, if all of them decoded. As long as they are the same, their tables only grow.
    _decoding: list[Request] | None = None
    # Who got a token in the last step, and how they choose. As long as they are the same, nothing is sent for that.
    _chosen: list[Request] | None = None
    _draws: Draws | None = None

    def make_pool(self, *pool: Any) -> ModelRunner:
        self.tables = self._decoding = self._chosen = None
        super().make_pool(*pool)
        self.tables = TableRows(self.kv, self.operations.least_saved_pages(self.kv.key_cache[0]))
        return self

    def forget_tables(self) -> None:
        """A request has lost its pages. If the step without it is cut, it may come back in the next, with others."""
        self._decoding, self.tables.rows = None, {}

    @property
    def may_stay_in_flight(self) -> bool:
        """Whether the next step can be planned behind it: all decode, without a penalty, which needs the tokens."""
        return self._decoding is not None and not self._draws.has_penalty

    @torch.inference_mode()
    def launch(self, scheduled: dict[Request, int], before: Launched | None = None) -> Launched:
        """Ask the device for `scheduled[request]` tokens of each request; those that are computed to the end get a new
        token. Nothing here waits for the device.

        before: the step whose tokens are not known yet, if there is one; a request has their places instead
        """
        require(not torch.empty(0).is_meta, "torch's default device must be one whose tensors hold numbers, not meta")
        batch = self.make_batch(scheduled)
        if before is not None:
            batch.awaits, batch.before = True, before.tokens
        requests, rows = list(scheduled), None
        if self._decoding is None:  # some are prompts, and some of these go on in the next step
            complete = [i for i, (r, n) in enumerate(scheduled.items()) if n == r.num_uncomputed_tokens]
            ends = list(accumulate(batch.query_lens))
            requests, rows = [requests[i] for i in complete], [ends[i] - 1 for i in complete]
        hidden, logits = self.ranks.call("forward", batch, rows)
        context_lens = batch.context_lens  # on the device by now
        if rows is not None:
            context_lens = context_lens[to_device(torch.tensor(complete, dtype=torch.int64), self.kv.device)]
        tokens = self.next_tokens(requests, logits, context_lens)
        # The only look for NaN. A token sees itself, so if its key or value is not finite, its hidden state is not
        # either, nor is the sum of that.
        marks = hidden.sum(dim=-1, dtype=torch.float32)
        on_host = tuple(tensor.to("cpu", non_blocking=True) for tensor in (tokens, marks))
        arrived = torch.cuda.current_stream(tokens.device).record_event() if tokens.is_cuda else None
        return Launched(scheduled, requests, tokens, logits, on_host, arrived)

    def results(self, launched: Launched) -> dict[Request, StepResult]:
        """What a step gave, after a wait for it. Who has numbers that are not finite gets an error, and nobody else.

        Before anything is published: keys and values that went wrong must not be found by others.
        """
        if launched.arrived is not None:
            self.ranks.wait(launched.arrived)
        tokens, marks = (tensor.numpy() for tensor in launched.on_host)
        chosen, ids, vocab_size = launched.requests, tokens.tolist(), launched.logits.shape[-1]
        results = dict.fromkeys(launched.scheduled, StepResult()) | dict(zip(chosen, map(StepResult, ids), strict=True))
        for row, request in enumerate(chosen):
            if not 0 <= ids[row] < vocab_size:
                error = "the logits are NaN, infinite, or all -infinity: there is no token to choose"
                results[request] = StepResult(error=error)
            elif (num_top := request.params.logprobs) is not None:
                results[request] = StepResult(ids[row], token_logprobs(launched.logits[row], ids[row], num_top))
        if not np.isfinite(marks).all():
            parts = np.split(~np.isfinite(marks), np.cumsum(list(launched.scheduled.values()))[:-1])
            error = "the model computed numbers that are not finite for its tokens"
            for request, part in zip(launched.scheduled, parts, strict=True):
                if part.any():
                    results[request] = StepResult(error=error)
        return results

    def make_batch(self, scheduled: dict[Request, int]) -> Batch:
        """The tensors of a step: the uncomputed tokens of each request, packed, and where their pages are."""
        starts = np.fromiter((request.num_computed_tokens for request in scheduled), np.int64, len(scheduled))
        query_lens = np.fromiter(scheduled.values(), np.int64, len(scheduled))
        if self._decoding != (requests := list(scheduled)):
            self._decoding = None
            # A prompt may have got other pages since the last step, when it was published.
            stays = {request.request_id: request.is_decode for request in requests}
            self.tables.choose(stays, starts)
            self._decoding = requests if all(stays.values()) else None
        tables = self.tables.of(starts, self.kv.blocks_needed(int((starts + query_lens).max())))
        token_ids = np.concatenate([request.uncomputed(n) for request, n in scheduled.items()])
        return pack(token_ids, starts, query_lens, tables, self.kv.block_size, self.tables.shared)

    def next_tokens(self, requests: list[Request], logits: torch.Tensor, context_lens: torch.Tensor) -> torch.Tensor:
        """A token for each request from its row of `logits`, `[num_requests, vocab_size]`, on the device: -1 where the
        logits are not sound.

        Which of its numbers a request draws follows from how many tokens it has generated (`context_lens`), so it is
        the same in any batch, and again if a step is cut.
        """
        if self._chosen != requests:
            prompt_lens = [request.num_prompt_tokens for request in requests]
            params, seeds = [request.params for request in requests], [request.seed for request in requests]
            self._draws, self._chosen = Draws(params, seeds, prompt_lens, self.kv.device), requests
        if self._draws.has_penalty:
            tokens = ([r.prompt_token_ids for r in requests], [r.output_token_ids for r in requests])
            logits = sampling.penalised(logits, *self._draws.penalties, *tokens)
        return self.operations.choose(logits, self._draws, context_lens)


def token_logprobs(logits: torch.Tensor, token_id: int, num_top: int) -> TokenLogprobs:
    """Log-probabilities of a row of logits [vocab_size]: of the chosen token and of the `num_top` likeliest."""
    logprobs = logits.float().log_softmax(dim=-1)
    values, ids = logprobs.topk(min(num_top, len(logprobs)))
    return TokenLogprobs(token_id, logprobs[token_id].item(), list(zip(ids.tolist(), values.tolist(), strict=True)))
