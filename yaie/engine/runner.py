"""One step of the model: lay the scheduled tokens out as a batch, run the decoder, choose the next tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from yaie.engine.output import TokenLogprobs
from yaie.engine.request import Request
from yaie.kernels.kv_cache import KVCacheManager
from yaie.kernels.sampling import SamplingKernel
from yaie.models.batch import Batch


@dataclass(frozen=True)
class StepResult:
    """What a step gave one request: a token, or none (its prompt goes on in the next step), or an error."""

    token_id: int | None = None
    logprobs: TokenLogprobs | None = None
    error: str | None = None


class ModelRunner:
    """Runs the model over pages. Holds nothing that belongs to a request."""

    def __init__(self, model: Any, kv: KVCacheManager) -> None:
        self.model = model
        self.kv = kv
        self.sampler = SamplingKernel()

    @torch.inference_mode()
    def run(self, scheduled: dict[Request, int]) -> dict[Request, StepResult]:
        """Compute `scheduled[request]` tokens of each request; those that are computed to the end get a new token.

        A request whose numbers are not finite gets an error, and nobody else does.
        """
        batch = self.make_batch(scheduled)
        hidden = self.model(batch, self.kv)
        ends = np.cumsum(batch.query_lens)
        results = dict.fromkeys(scheduled, StepResult())
        if (broken := self.not_finite(hidden, ends)).any():
            for i, request in enumerate(scheduled):
                if broken[i]:
                    results[request] = StepResult(
                        error="the model computed numbers that are not finite for its tokens"
                    )
        complete = [
            (request, end - 1)
            for (request, num_tokens), end in zip(scheduled.items(), ends.tolist(), strict=True)
            if num_tokens == request.num_uncomputed_tokens and results[request].error is None
        ]
        if complete:
            rows = torch.tensor([row for _, row in complete], device=hidden.device)
            requests = [request for request, _ in complete]
            results |= self.next_tokens(requests, self.model.logits(hidden.index_select(0, rows)))
        return results

    def make_batch(self, scheduled: dict[Request, int]) -> Batch:
        """The tensors of a step: the uncomputed tokens of each request, packed, and where their pages are."""
        token_ids: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        context_lens: list[int] = []
        tables = [self.kv.block_tables[request.request_id] for request in scheduled]
        block_tables = np.zeros((len(tables), max(map(len, tables))), dtype=np.int64)
        for row, (request, num_tokens) in enumerate(scheduled.items()):
            start = request.num_computed_tokens
            end = start + num_tokens
            token_ids += request.token_ids[start:end]
            positions += range(start, end)
            slots += self.kv.slot_mapping(request.request_id, start, end)
            context_lens.append(end)
            block_tables[row, : len(tables[row])] = tables[row]

        def on_device(values: Any) -> torch.Tensor:
            return torch.as_tensor(values, dtype=torch.int64).to(self.kv.device)

        return Batch(
            token_ids=on_device(token_ids),
            positions=on_device(positions),
            slot_mapping=on_device(slots),
            block_tables=on_device(block_tables),
            context_lens=on_device(context_lens),
            query_lens=list(scheduled.values()),
        )

    def not_finite(self, hidden: torch.Tensor, ends: np.ndarray) -> np.ndarray:
        """For each sequence of a batch: is there a NaN or an infinity among its hidden states?

        Asked before anything is published: keys and values that went wrong must not be found by others. (A token sees
        itself, so if its key or value is not finite, its hidden state is not either.)
        """
        bad_rows = (~hidden.isfinite().all(dim=-1)).cpu().numpy()
        if not bad_rows.any():
            return np.zeros(len(ends), dtype=bool)
        return np.array([part.any() for part in np.split(bad_rows, ends[:-1])])

    def next_tokens(self, requests: list[Request], logits: torch.Tensor) -> dict[Request, StepResult]:
        """Choose a token for each request from its row of `logits`, [num_requests, vocab_size]."""
        results = {}
        finite = logits.amax(dim=-1).isfinite()  # NaN if any is; -inf if all are
        if not finite.all():
            for i, request in enumerate(requests):
                if not finite[i]:
                    error = "the logits are NaN, infinite, or all -infinity: there is no token to choose"
                    results[request] = StepResult(error=error)
            requests = [request for request in requests if request not in results]
            logits = logits[finite]
        if not requests:
            return results
        token_ids = self.sample(requests, logits)
        for i, request in enumerate(requests):
            logprobs = token_logprobs(logits[i], token_ids[i], request.params.logprobs)
            results[request] = StepResult(token_ids[i], logprobs)
        return results

    def sample(self, requests: list[Request], logits: torch.Tensor) -> list[int]:
        """One token per row. Rows that only want their largest logit take a short cut to the same token."""
        token_ids = logits.argmax(dim=-1)
        drawn = [i for i, request in enumerate(requests) if not _plain_greedy(request)]
        if drawn:
            rows = torch.tensor(drawn, device=logits.device)
            token_ids[rows] = self._draw([requests[i] for i in drawn], logits[rows])
        return token_ids.tolist()

    def _draw(self, requests: list[Request], logits: torch.Tensor) -> torch.Tensor:
        params = [request.params for request in requests]
        return self.sampler.sample(
            logits,
            temperature=[p.temperature for p in params],
            top_p=[p.top_p for p in params],
            top_k=[p.top_k for p in params],
            generator=[request.generator for request in requests],
            min_p=[p.min_p for p in params],
            repetition_penalty=[p.repetition_penalty for p in params],
            presence_penalty=[p.presence_penalty for p in params],
            prompt_tokens=[request.prompt_token_ids for request in requests],
            output_tokens=[request.output_token_ids for request in requests],
        )


def _plain_greedy(request: Request) -> bool:
    params = request.params
    return params.greedy and params.repetition_penalty == 1 and params.presence_penalty == 0


def token_logprobs(logits: torch.Tensor, token_id: int, num_top: int | None) -> TokenLogprobs | None:
    """Log-probabilities of a row of logits [vocab_size]: of the chosen token and of the `num_top` likeliest."""
    if num_top is None:
        return None
    logprobs = logits.float().log_softmax(dim=-1)
    values, ids = logprobs.topk(min(num_top, len(logprobs)))
    return TokenLogprobs(
        token_id, logprobs[token_id].item(), list(zip(ids.tolist(), values.tolist(), strict=True))
    )
