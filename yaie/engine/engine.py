"""The engine: requests in, a step at a time, chunks of their answers out.

One step (`Engine.step`): `Scheduler.schedule` chooses requests and gives them pages, `ModelRunner.run` computes their
tokens, each request takes what it got, and a chunk of its answer goes into the queue of the request.

When something fails:

- a prompt that cannot be served is refused by `add_request` with a ValueError that names the request;
- numbers that are not finite end the request that they belong to;
- an exception while the model runs ends the requests of that step;
- an exception in the bookkeeping ends all requests, because it is no longer known whose pages are whose, and the pool
  is made anew.

In each case the engine goes on serving, and the requests that it ended have `finish_reason="error"` and say why. What
is not an `Exception` (KeyboardInterrupt) is raised by `step`. `Engine.last_error` keeps the exception, with traceback.
"""

from __future__ import annotations

import hashlib
import traceback
from collections import deque
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import torch

from yaie.engine.output import RequestOutput, StreamChunk, TextStream
from yaie.engine.pages import PageCounts, Pages
from yaie.engine.prompts import Prompt, encode, validate
from yaie.engine.request import Request, Status
from yaie.engine.runner import ModelRunner, StepResult, choose_operations
from yaie.engine.sampling_params import SamplingParams
from yaie.engine.scheduler import Scheduler
from yaie.kernels.kv_cache import KVCacheManager
from yaie.kernels.ops import Operations
from yaie.models.cuda_graph import DecodeGraphs

# What the pool may take if `num_blocks` is not given. All three are choices.
CPU_POOL_BYTES = 256 * 2**20  # a laptop does not miss it
GPU_POOL_FRACTION = 0.8  # of the free memory; the rest is for activations
EMULATOR_POOL_BYTES = 8 * 2**20  # little: each launch copies a layer of it to the emulator's memory and back


@dataclass(frozen=True, kw_only=True)
class Options:
    """How an engine is set up: the keywords of `LLM` besides those of its model."""

    # What computes: "torch", "cuda" (the kernels of csrc/ on a GPU), "emulator" (the same on the CPU, slowly: for
    # looking at them), "auto" ("cuda" on a GPU as far as its kernels go, else "torch"), or a set of operations.
    backend: str | Operations = "auto"
    block_size: int = 16  # tokens per page; 16 as in vLLM
    num_blocks: int | None = None  # pages in the pool; None: as many as are useful and fit
    max_num_batched_tokens: int = 2048  # how many a step computes at most; a longer prompt is computed in chunks
    max_num_seqs: int = 64  # how many requests run at once at most
    max_model_len: int | None = None  # prompt and answer together; None: what the model was trained for
    prefix_cache: bool = True  # keep computed pages and reuse them for prompts that begin alike
    policy: str = "fcfs"  # who is admitted first: "fcfs" or "longest_prefix"
    eviction: str = "lru"  # which cached pages go first: "lru", "lfu" or "fifo"
    seed: int = 0  # a request without a seed of its own draws from this and its number, so a run can be repeated
    graphs: bool = True  # replay decode steps instead of asking for each operation, where that is possible
    trace: bool = False  # keep a `StepRecord` of every step in `Engine.trace`


class StepRecord(NamedTuple):
    """What one step did, as plain data: for timelines, and for the accounts of pages."""

    step: int  # its number, from 0
    # What happened to each unfinished request: (kind, number of tokens computed). The kind is "prefill", "decode",
    # "waiting" (not begun, or begun and without a part in this step) or "preempted" (waiting to go on).
    work: dict[str, tuple[str, int]]
    finished: dict[str, str]  # requests that ended in this step, with their finish reason
    pages: PageCounts  # after the step


class Engine:
    """A model with its pages, its scheduler and its unfinished requests.

    model, config, tokenizer: as `yaie.models.loader.load_model` returns them; the tokenizer may be None

    Raises BackendError if the backend cannot run on this machine, or not with a model of this shape or dtype.
    """

    def __init__(self, model: Any, config: Any, tokenizer: Any, options: Options) -> None:
        self.model, self.config, self.tokenizer, self.options = model, config, tokenizer, options
        longest = config.max_position_embeddings
        self.max_model_len = options.max_model_len or longest
        if self.max_model_len > longest:
            raise ValueError(f"max_model_len={self.max_model_len} is more than the model's {longest}")
        self._num_blocks = options.num_blocks or self._default_num_blocks()
        self.trace: list[StepRecord] | None = [] if options.trace else None
        self.last_error: BaseException | None = None
        self.num_steps = 0
        self._requests: dict[str, Request] = {}  # unfinished
        self._num_requests = 0
        self._totals = dict.fromkeys(
            ("finished", "prompt_tokens", "cached_tokens", "computed_tokens", "generated_tokens", "preemptions"), 0
        )
        self._queue: deque[StreamChunk] = deque()  # of the requests that came by `add_request`
        self.operations: Operations | None = None
        self._make_pool()

    # --- requests -------------------------------------------------------------------------------------------

    def add_request(self, prompt: Prompt, params: SamplingParams | None = None, request_id: str | None = None) -> str:
        """Queue a request for the coming steps and return its id.

        Raises ValueError, naming the request, if it could never be served: no tokens, tokens that the model does not
        know, more than the model or the pool holds, an id that is in use. Nothing has changed then.
        """
        request_id = request_id or self._free_id()
        self._add(prompt, params or SamplingParams(), request_id, self._queue)
        return request_id

    def _free_id(self) -> str:
        """An id for a request without one: its number, or the next that no unfinished request was given as its id."""
        return next(id for n in count(self._num_requests) if (id := f"request-{n}") not in self._requests)

    def _add(self, prompt: Prompt, params: SamplingParams, request_id: str, queue: deque[StreamChunk]) -> None:
        """As `add_request`; the chunks of the answer go into `queue`."""
        kv = self.kv
        try:
            token_ids = encode(prompt, self.tokenizer)
            if request_id in self._requests:
                raise ValueError("this id belongs to an unfinished request")
            validate(token_ids, self.config.vocab_size, self.max_model_len, kv.num_blocks, kv.block_size)
        except ValueError as error:
            raise ValueError(f"request {request_id!r}: {error}") from error
        max_len = min(self.max_model_len, kv.num_blocks * kv.block_size)
        request = Request(
            request_id,
            token_ids,
            params=params,
            arrival=self._num_requests,
            max_tokens=min(params.max_tokens, max_len - len(token_ids)),
            text=TextStream(self.tokenizer.detokenizer() if self.tokenizer else None, params.stop),
            generator=self._generator(params.seed),
            queue=queue,
        )
        self._num_requests += 1
        self._totals["prompt_tokens"] += len(token_ids)
        self._requests[request_id] = request
        self.scheduler.add(request)

    def abort(self, request_id: str) -> RequestOutput:
        """End a request now and return what it has. What it computed may be reused. KeyError if it is not running."""
        if request_id not in self._requests:
            raise KeyError(f"no unfinished request {request_id!r}")
        request = self._requests[request_id]
        self._finish(request, "abort")
        return self._output(request)

    @property
    def has_unfinished_requests(self) -> bool:
        return bool(self._requests)

    def _generator(self, seed: int | None) -> torch.Generator:
        if seed is None:
            text = f"{self.options.seed} {self._num_requests}".encode()  # 7 bytes, so that the seed fits 63 bits
            seed = int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "little")
        return torch.Generator().manual_seed(seed)

    # --- one step -------------------------------------------------------------------------------------------

    def step(self) -> list[StreamChunk]:
        """Compute one step and return what it gave to each request that was added with `add_request`."""
        if self._requests:
            self._step()
        chunks = list(self._queue)
        self._queue.clear()
        return chunks

    def _step(self) -> None:
        """One step, with what happens if it fails: see the top of this file."""
        try:
            scheduled = self.scheduler.schedule()
            if not scheduled:
                raise RuntimeError(f"the scheduler has {len(self._requests)} requests and chose none of them")
            self._totals["preemptions"] += len(self.scheduler.preempted)
            work = self._work(scheduled) if self.trace is not None else {}
        except BaseException as error:
            return self._start_over(error)
        try:
            results = self.runner.run(scheduled)
        except Exception as error:
            self.last_error = error
            results = dict.fromkeys(scheduled, StepResult(error=_describe(error)))
        try:
            for request, num_tokens in scheduled.items():
                self._take(request, num_tokens, results[request])
                self._emit(request, results[request].token_id)
        except BaseException as error:
            return self._start_over(error)
        if self.trace is not None:
            finished = {request.request_id: request.finish_reason for request in scheduled if request.is_finished}
            self.trace.append(StepRecord(self.num_steps, work, finished, self.pages.counts(self.scheduler.running)))
        self.num_steps += 1
        return None

    def _take(self, request: Request, num_tokens: int, result: StepResult) -> None:
        """A request takes what a step gave it: computed tokens, perhaps a new token, perhaps its end."""
        if result.error is not None:
            self._finish(request, "error", f"request {request.request_id!r}: {result.error}", keep=False)
            return
        self.pages.advance(request, num_tokens)
        self._totals["computed_tokens"] += num_tokens
        if result.token_id is None:
            return
        request.append(result.token_id)
        self._totals["generated_tokens"] += 1
        if result.logprobs is not None:
            request.logprobs.append(result.logprobs)
        if reason := self._reason_to_end(request, result.token_id):
            self._finish(request, reason)

    def _reason_to_end(self, request: Request, token_id: int) -> str | None:
        params = request.params
        ends = not params.ignore_eos and self.tokenizer and token_id in self.tokenizer.eos_token_ids
        if ends or token_id in params.stop_token_ids or request.text.push(token_id):
            return "stop"
        return "length" if request.num_output_tokens >= request.max_tokens else None

    def _emit(self, request: Request, token_id: int | None = None) -> None:
        """Put what is new into the queue of the request; with its end comes its output."""
        output = self._output(request) if request.is_finished else None
        token_ids = [] if token_id is None else [token_id]
        request.queue.append(StreamChunk(request.request_id, request.text.take(), token_ids, output))

    def _output(self, request: Request) -> RequestOutput:
        return RequestOutput(
            request_id=request.request_id,
            text=request.text.text,
            token_ids=request.output_token_ids.tolist(),
            prompt_token_ids=request.prompt_token_ids.tolist(),
            num_cached_tokens=request.num_cached_tokens or 0,
            finish_reason=request.finish_reason,
            logprobs=request.logprobs if request.params.logprobs is not None else None,
            error=request.error,
        )

    def _finish(self, request: Request, reason: str, error: str | None = None, *, keep: bool = True) -> None:
        self.scheduler.finish(request, reason, error, keep=keep)
        self._forget(request)

    def _forget(self, request: Request) -> None:
        del self._requests[request.request_id]
        self._totals["finished"] += 1
        self._totals["cached_tokens"] += request.num_cached_tokens or 0

    def _start_over(self, error: BaseException) -> None:
        """After an exception in the bookkeeping: end all requests and make the pool anew."""
        self.last_error = error
        requests = list(self._requests.values())
        for request in requests:
            request.finish("error", f"request {request.request_id!r}: {_describe(error)}")
            self._forget(request)
        self._make_pool()
        for request in requests:
            self._emit(request)
        if not isinstance(error, Exception):
            raise error

    # --- the pool and what works on it ----------------------------------------------------------------------

    def _make_pool(self) -> None:
        self.kv = self.pages = self.scheduler = self.runner = None  # the old pool is freed before the new one is made
        model, config, options = self.model, self.config, self.options
        shape = self._num_blocks, options.block_size, config.num_kv_heads, config.head_dim
        self.kv = KVCacheManager(*shape, model.dtype, config.num_layers, model.device)
        self.pages = Pages(self.kv, prefix_cache=options.prefix_cache, eviction=options.eviction)
        limits = {"max_num_batched_tokens": options.max_num_batched_tokens, "max_num_seqs": options.max_num_seqs}
        self.scheduler = Scheduler(self.pages, **limits, policy=options.policy)
        self.operations = self.operations or choose_operations(options.backend, model, self.kv)
        graphs = None
        if options.graphs and self.operations.name == "cuda":
            graphs = DecodeGraphs(model, self.kv, self.operations, options.max_num_seqs, self.max_model_len)
        self.runner = ModelRunner(model, self.kv, self.operations, graphs)

    def _default_num_blocks(self) -> int:
        config, device, block_size = self.config, self.model.device, self.options.block_size
        values_per_token = 2 * config.num_layers * config.num_kv_heads * config.head_dim  # keys and values
        bytes_per_block = block_size * values_per_token * self.model.dtype.itemsize
        if device.type == "cuda":
            budget = int(torch.cuda.mem_get_info(device)[0] * GPU_POOL_FRACTION)
        else:
            budget = EMULATOR_POOL_BYTES if name_of(self.options.backend) == "emulator" else CPU_POOL_BYTES
        useful = self.options.max_num_seqs * -(-self.max_model_len // block_size)
        return max(1, min(useful, budget // bytes_per_block))

    # --- accounts -------------------------------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        """Counts since the engine was made, and where its pages are: free + evictable + protected + private == pool.

        hit_rate: the part of all prompt tokens that was found in the prefix cache
        """
        totals = self._totals
        return {
            "steps": self.num_steps,
            "waiting": len(self.scheduler.waiting),
            "running": len(self.scheduler.running),
            **totals,
            "hit_rate": totals["cached_tokens"] / max(1, totals["prompt_tokens"]),
            "evicted_pages": self.pages.num_evicted,
            "duplicate_pages": self.pages.num_duplicates,
            "pages": self.pages.counts(self.scheduler.running)._asdict(),
        }

    def check_integrity(self) -> None:
        """Raise AssertionError if a page, a lock or a length is not what it should be."""
        waiting, running = self.scheduler.waiting, self.scheduler.running
        assert {*waiting, *running} == set(self._requests.values()), "the scheduler has others than the unfinished"
        self.pages.check_integrity(running)
        for request in waiting:
            request.check()

    def _work(self, scheduled: dict[Request, int]) -> dict[str, tuple[str, int]]:
        """What the coming step does with each unfinished request, for the trace."""

        def kind(request: Request) -> str:
            if request in scheduled:
                return "decode" if request.is_decode else "prefill"
            return "preempted" if request.status is Status.WAITING and request.num_preemptions else "waiting"

        return {name: (kind(request), scheduled.get(request, 0)) for name, request in self._requests.items()}


def name_of(backend: str | Operations) -> str:
    """What a backend is called that was asked for by its name or as a set of operations."""
    return backend if isinstance(backend, str) else backend.name


def _describe(error: BaseException) -> str:
    """An exception in a line: what it says, and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno}, in {frames[-1].name})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"
