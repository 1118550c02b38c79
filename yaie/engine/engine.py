"""The engine: requests in, a step at a time, chunks of their answers out.

One step: `Scheduler.schedule` chooses requests and gives them pages, `ModelRunner.launch` asks the device for their
tokens (`_plan`); `ModelRunner.results` waits for them, each request takes what it got, and a chunk of its answer goes
into the queue of the request (`_land`). On a GPU steps overlap: the next is planned while one is computed.

    host     plan 1 | plan 2          | take 1, plan 3  | take 2, plan 4
    device          | step 1          | step 2          | step 3

A plan needs lengths, and these are known before the tokens: whoever decodes has one more. The token itself is a place
in the device's memory, where the next step takes it (`Request.expect`). Who has all tokens that it may have is not
planned again. Who ends by what a token says has one step too many: when the token is seen, the step after it is in
flight, and what that gives is dropped. It writes to pages that have gone back by then, but a device does its steps in
order, so their next owner writes after it. A step stays in flight only if all in it decode, without a penalty (which
needs the tokens), and the next is planned behind it only if it has pages for all; else it is taken first.

When something fails, nothing that was handed in is lost, nothing is handed out twice, and whoever waits is woken:

- a prompt that cannot be served is refused by `add_request` with a ValueError that names the request;
- numbers that are not finite, a draw from nothing and text that cannot be decoded end the request that they belong to;
- an exception while the model runs ends the requests of that step, one in the bookkeeping all requests, because it is
  no longer known whose pages are whose; they have `finish_reason="error"`, and `Engine.last_error` the exception;
- a step that is cut (KeyboardInterrupt) ends nobody. While the device is asked or waited for, nothing has changed, and
  steps in flight stay there. Else whoever calls next finds the bookkeeping half done (`_sound`): pool and scheduler are
  made anew, and each request goes on from the tokens that are in its queue;
- a stream that is closed, or collected as garbage (perhaps in the middle of a step), notes its requests in
  `_forgotten`. They are aborted at once, or by the next step.

One thread at a time works on an engine (`_lock`, also to read a queue); a call from inside a step is refused.
"""

from __future__ import annotations

import hashlib
import os
import threading
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import torch

from yaie.engine.output import Delivery, RequestOutput, StreamChunk, TextStream
from yaie.engine.pages import PageCounts, Pages
from yaie.engine.prefix_cache import POLICIES as EVICTIONS
from yaie.engine.prompts import Prompt, encode, validate
from yaie.engine.request import Request, Status
from yaie.engine.runner import Launched, ModelRunner, StepResult
from yaie.engine.sampling_params import SamplingParams
from yaie.engine.scheduler import Limits, Scheduler
from yaie.kernels import checks, ops
from yaie.kernels.checks import require
from yaie.kernels.ops import Operations
from yaie.models.shard import affordable_blocks
from yaie.models.tokenizer import Detokenizer
from yaie.parallel.ranks import OneRank, Ranks

# So that the child of a fork in the middle of a step can go on with what it has.
_engines: weakref.WeakSet[Engine] = weakref.WeakSet()
os.register_at_fork(after_in_child=lambda: [engine._after_fork() for engine in list(_engines)])


@dataclass(frozen=True, kw_only=True)
class Options(Limits):
    """How an engine is set up: the keywords of `LLM` besides those of its model. ValueError naming a wrong one."""

    # What computes: "torch", "cuda" (the kernels of csrc/ on a GPU), "emulator" (the same on the CPU, slowly: for
    # looking at them), "auto" ("cuda" on a GPU as far as its kernels go, else "torch"), or a set of operations.
    backend: str | Operations = "auto"
    block_size: int = 16  # tokens per page; 16 as in vLLM
    num_blocks: int | None = None  # pages in the pool; None: as many as are useful and fit
    max_model_len: int | None = None  # prompt and answer together; None: what the model was trained for
    prefix_cache: bool = True  # keep computed pages and reuse them for prompts that begin alike
    eviction: str = "lru"  # which cached pages go first: "lru", "lfu" or "fifo"
    seed: int = 0  # a request without a seed of its own draws from this and its number, so a run can be repeated
    graphs: bool = True  # replay decode steps instead of asking for each operation, where that is possible
    overlap: bool | None = None  # plan a step while the one before it is computed; None: on a GPU
    tensor_parallel: int = 1  # split the model over so many GPUs, or processes on a CPU ("ranks")
    trace: bool = False  # keep a `StepRecord` of every step in `Engine.trace`

    def __post_init__(self) -> None:
        super().__post_init__()
        if not hasattr(self.backend, "sample"):  # no set of operations, so a name
            ops.resolve(self.backend, self.backend == "cuda", lambda name: None)  # ValueError for an unknown one
        for name in ("block_size", "tensor_parallel", "num_blocks", "max_model_len"):
            if getattr(self, name) is not None or name in ("block_size", "tensor_parallel"):  # the others may be open
                checks.integer(name, getattr(self, name), 1)
        for name in ("prefix_cache", "graphs", "trace", *(["overlap"] if self.overlap is not None else [])):
            checks.flag(name, getattr(self, name))
        checks.one_of("eviction", self.eviction, EVICTIONS)
        require(checks.is_integer(self.seed), "seed must be an integer", self.seed)


class StepRecord(NamedTuple):
    """What one step did, as plain data: for timelines, and for the accounts of pages."""

    step: int  # its number, from 0
    # Of each unfinished request: how many tokens were computed, and why: "prefill" or "decode"; or why not: "waiting"
    # (not begun, or without a part in this step) or "preempted".
    work: dict[str, tuple[str, int]]
    finished: dict[str, str]  # requests that ended in this step, with their finish reason
    pages: PageCounts  # after the step


class Flight(NamedTuple):
    """A step that the device was asked for, and whose results are not taken yet."""

    scheduled: dict[Request, int]  # requests, and how many of its tokens each computes
    launched: Launched | Exception  # where its results come, or why there are none
    stays: bool  # in flight, while the next is planned; its requests count its tokens as computed already
    work: dict[str, tuple[str, int]]  # for the trace


class Engine:
    """A model with its pages, its scheduler and its unfinished requests.

    model, config, tokenizer: as `yaie.models.loader.load_model` returns them; the tokenizer may be None
    ranks: all that compute the steps, with the model loaded, where it is split over several; None: this process alone

    Raises BackendError if the backend cannot run on this machine, or not with a model of this shape or dtype.
    """

    def __init__(self, model: Any, config: Any, tokenizer: Any, options: Options, ranks: Ranks | None = None) -> None:
        self.ranks = ranks or OneRank(ModelRunner(model=model))
        self.model, self.config, self.tokenizer, self.options = model, config, tokenizer, options
        longest = config.max_position_embeddings
        self.max_model_len = options.max_model_len or longest
        fits = self.max_model_len <= longest
        require(fits, f"max_model_len must be at most the model's {longest}", self.max_model_len)
        useful = options.max_num_seqs * -(-self.max_model_len // options.block_size)
        pool = config, options.block_size, options.tensor_parallel, getattr(options.backend, "name", options.backend)
        self.num_blocks = options.num_blocks or min(useful, affordable_blocks(model, *pool))
        self.trace: list[StepRecord] | None = [] if options.trace else None
        self.last_error: BaseException | None = None
        self.num_steps = 0
        self.overlaps = self.model.device.type == "cuda" if options.overlap is None else options.overlap
        self._flights: deque[Flight] = deque()  # the oldest first; two while one is planned behind the other
        self._requests: dict[str, Request] = {}  # unfinished
        self._num_requests = 0
        self._totals = dict.fromkeys(
            ("finished", "prompt_tokens", "cached_tokens", "computed_tokens", "generated_tokens", "preemptions"), 0
        )
        self._queue: deque[Delivery] = deque()  # of the requests that came by `add_request`
        self._forgotten: deque[Request] = deque()  # whoever wanted their answers is gone
        self._lock = threading.RLock()  # held by the thread that works on the engine
        _engines.add(self)
        # It runs while the bookkeeping changes. `gi_running` is right however that ends: a flag would stay set by a cut
        # and a lock's thread may take it twice.
        self._writing = self._write(str)
        self._sound = False  # is the bookkeeping whole?
        self._make_pool()
        self._sound = True

    def _after_fork(self) -> None:
        """In a child process: if another thread was working here, it is not there any more, and frees no lock."""
        torch.set_num_threads(1)  # those that shared PyTorch's work are not there either, and would be waited for
        if self._lock.acquire(blocking=False):
            self._lock.release()
            return
        self._lock, self._writing = threading.RLock(), self._write(str)

    # --- requests -------------------------------------------------------------------------------------------

    def add_request(self, prompt: Prompt, params: SamplingParams | None = None, request_id: str | None = None) -> str:
        """Queue a request for the coming steps and return its id.

        ValueError, naming the request: it could never be served, or its id is in use. Nothing has changed then.
        """
        made: list[Request] = []
        try:
            with self._lock:  # until it is queued, so that an id that is free stays so
                self._tidy()
                request_id = self._free_id() if request_id is None else request_id
                self._add(prompt, SamplingParams() if params is None else params, request_id, self._queue, made)
            return request_id
        except BaseException:
            self._forgotten.extend(made)  # cut: its caller does not have the id
            raise

    def _free_id(self) -> str:
        """An id for a request without one: its number, or the next that no unfinished request was given as its id."""
        return next(id for n in count(self._num_requests) if (id := f"request-{n}") not in self._requests)

    def _add(
        self, prompt: Prompt, params: SamplingParams, request_id: str, queue: deque, made: list[Request], index: int = 0
    ) -> None:
        """As `add_request`. Chunks go, with `index`, into `queue`; the request, before it is queued, into `made`."""
        require(isinstance(request_id, str) and request_id != "", "request_id must be a str, not empty", request_id)
        require(isinstance(params, SamplingParams), "params must be a SamplingParams", params)
        num_blocks, block_size = self.num_blocks, self.options.block_size
        max_len = min(self.max_model_len, num_blocks * block_size)
        try:
            token_ids = encode(prompt, self.tokenizer)
            if request_id in self._requests:
                raise ValueError("this id belongs to an unfinished request")
            validate(token_ids, self.config.vocab_size, self.max_model_len, num_blocks, block_size)
            stop_ids = self._stop_ids(params)
        except ValueError as error:
            raise ValueError(f"request {request_id!r}: {error}") from error
        request = Request(
            request_id,
            token_ids,
            params=params,
            arrival=self._num_requests,
            max_tokens=min(params.max_tokens, max_len - len(token_ids)),
            text=self._new_text(params, token_ids),
            seed=self._seed(params.seed),
            queue=queue,
            index=index,
            stop_ids=stop_ids,
        )
        made.append(request)
        self._change(self._insert, request)

    def _insert(self, request: Request) -> None:
        self._num_requests += 1
        self._totals["prompt_tokens"] += request.num_prompt_tokens
        self._requests[request.request_id] = request
        self.scheduler.add(request)

    def abort(self, request_id: str) -> RequestOutput:
        """End a request now and return what it has; nothing more of it comes. KeyError: there is no such request."""
        with self._lock:
            self._tidy()
            request = self._requests.get(request_id) if isinstance(request_id, str) else None
            if request is None:
                raise KeyError(f"no unfinished request {checks.describe(request_id)}")
            self._change(self._abort, request)
            return self._output(request)

    def _abort(self, request: Request) -> None:
        if self._requests.get(request.request_id) is not request:
            return  # it has ended, perhaps just now, by a handler or with a stream that was collected
        self.scheduler.finish(request, "abort")
        if request.queue is self._queue:
            self._forget(request)  # who aborts is who waits
        else:
            self._deliver(request)

    def _abort_forgotten(self) -> None:
        while self._forgotten:
            request = self._forgotten[0]
            self._abort(request)
            request.finish_reason = "abort"  # also of one that has ended meanwhile: its chunks are for nobody
            self._forgotten.popleft()

    @property
    def has_unfinished_requests(self) -> bool:
        return bool(self._requests)

    def _new_text(self, params: SamplingParams, prompt: Sequence[int]) -> TextStream:
        detokenizer = self.tokenizer.detokenizer() if self.tokenizer else None
        if isinstance(detokenizer, Detokenizer):  # others have no spaces to lose
            detokenizer.follow(prompt)
        return TextStream(detokenizer, params.stop)

    def _stop_ids(self, params: SamplingParams) -> frozenset[int]:
        """The tokens that end an answer. A stop string that is a special token is one of them: no text shows it."""
        ids, last = set(params.stop_token_ids), self.config.vocab_size - 1
        require(max(ids, default=0) <= last, f"stop_token_ids must be ids that the model knows, 0 to {last}", [*ids])
        if self.tokenizer and not params.ignore_eos:
            ids.update(self.tokenizer.eos_token_ids)
        is_special = getattr(self.tokenizer, "is_special", None)
        for stop in params.stop if is_special else ():
            tokens = self.tokenizer.encode(stop, add_special_tokens=False)
            if any(map(is_special, tokens)):
                require(len(tokens) == 1, "stop must be text, or one special token and nothing else", stop)
                ids.update(tokens)
        return frozenset(ids)

    def _seed(self, seed: int | None) -> int:
        """Of a request: its own, or one that follows from the engine's and its number."""
        if seed is not None:
            return seed
        text = f"{self.options.seed} {self._num_requests}".encode()  # 7 bytes, so that the seed fits 63 bits
        return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "little")

    # --- one step -------------------------------------------------------------------------------------------

    def step(self) -> list[StreamChunk]:
        """Compute one step and return what it gave to each request that was added with `add_request`."""
        taken: list[Delivery] = []
        try:
            with self._lock:
                self._change(self._step)
                taken.extend(self._queue)
                self._queue.clear()
            return _wanted(taken)
        except BaseException:
            if taken and (not self._queue or self._queue[0] is not taken[0]):  # cut on the way out
                self._queue.extendleft(reversed(taken))
            raise

    def _next_chunks(self, queue: deque[Delivery]) -> list[StreamChunk]:
        """The next chunks of a stream, after as many steps as it takes. What they give to others waits for those."""
        with self._lock:
            if not self._sound:
                self._tidy()  # before chunks are taken: those of a step that was cut say how far their requests are
            while not queue:
                self._change(self._step)
            # One by one: a signal's handler may use the engine meanwhile, and so add some.
            return [queue.popleft().chunk for _ in range(len(queue))]

    def _change(self, action: Callable[..., None], *arguments: Any) -> None:
        """Change the bookkeeping by `action`. If it is cut, whoever comes next makes it anew."""
        with self._lock:
            if self._writing.gi_running:
                raise RuntimeError("the engine was called from inside one of its own steps")
            (writing := self._write(action, *arguments)).send(None)
            writing.send(writing)

    def _write(self, action: Callable[..., None], *arguments: Any) -> Generator:
        self._writing = yield  # itself, running: a stream that is collected just before this makes a change of its own
        if not self._sound:
            self._start_over()
        self._sound = False
        action(*arguments)
        self._sound = True
        yield

    def _tidy(self) -> None:
        """Make the bookkeeping whole, and abort what is forgotten; if it is being changed, the next step does."""
        if not self._writing.gi_running:
            self._change(self._abort_forgotten)

    def _step(self) -> None:
        """Ask the device for a step, and take what one gave: this or the one before (see the top of this file)."""
        self._abort_forgotten()
        if not self._requests:
            return
        try:
            stays = self._can_plan() and self._plan()
            while len(self._flights) > stays:
                self._land()
        except Exception as error:
            self.last_error = error
            for request in list(self._requests.values()):
                request.finish("error", _describe(error))
                self._deliver(request)
            self._start_over()

    def _can_plan(self) -> bool:
        """Whether the next step can be planned now. Behind a step in flight nobody may lose pages for it."""
        steady = [flight.stays for flight in self._flights] == [True]
        return not self._flights or (steady and self.pages.can_grow(self.scheduler.running))

    def _plan(self) -> bool:
        """Choose the requests of a step, and ask the device for it; returns whether it stays in flight."""
        scheduled = self.scheduler.schedule()
        if not scheduled:
            if self._flights:
                return False  # the last token of everyone is in flight
            raise RuntimeError(f"the scheduler has {len(self._requests)} requests and chose none of them")
        if self.scheduler.preempted:
            self._totals["preemptions"] += len(self.scheduler.preempted)
            self.runner.forget_tables()
        work = self._work(scheduled) if self.trace is not None else {}
        self._sound = True  # while the device is asked, the bookkeeping does not change
        try:
            launched = self.runner.launch(scheduled, self._flights[-1].launched if self._flights else None)
            stays = self.overlaps and self.runner.may_stay_in_flight
        except Exception as error:
            launched, stays = error, False
        self._sound = False
        self._flights.append(Flight(scheduled, launched, stays, work))
        if stays:
            for place, request in enumerate(scheduled):
                self.pages.advance(request, 1)
                request.expect(place)
        return stays

    def _land(self) -> None:
        """Take what the oldest step in flight gave. Who has ended since gets nothing: its token is dropped."""
        flight = self._flights[0]
        self._sound = True  # while it is waited for, too
        try:
            if isinstance(flight.launched, Exception):
                raise flight.launched
            results = self.runner.results(flight.launched)
        except Exception as error:
            self.last_error = error
            results = dict.fromkeys(flight.scheduled, StepResult(error=_describe(error)))
        self._sound = False
        self._flights.popleft()
        taken = [request for request in flight.scheduled if request.status is Status.RUNNING]
        for request in taken:
            self._take(request, flight, results[request])
        if self.trace is not None:
            names = {request.request_id for request in taken}
            work = {name: did for name, did in flight.work.items() if not did[1] or name in names}
            finished = {request.request_id: request.finish_reason for request in taken if request.is_finished}
            self.trace.append(StepRecord(self.num_steps, work, finished, self.pages.counts(self.scheduler.running)))
        self.num_steps += 1

    def _take(self, request: Request, flight: Flight, result: StepResult) -> None:
        """A request takes what a step gave it: computed tokens, perhaps a new token, perhaps its end."""
        if result.error is not None:
            self.scheduler.finish(request, "error", result.error, keep=False)
            return self._deliver(request)
        num_tokens = flight.scheduled[request]
        if not flight.stays:
            self.pages.advance(request, num_tokens)
        self._totals["computed_tokens"] += num_tokens
        if (token_id := result.token_id) is None:
            return self._deliver(request)
        request.append(token_id)
        self._totals["generated_tokens"] += 1
        if result.logprobs is not None:
            request.logprobs.append(result.logprobs)
        if reason := self._reason_to_end(request, token_id):
            self.scheduler.finish(request, *reason)
        return self._deliver(request, token_id)

    def _reason_to_end(self, request: Request, token_id: int) -> tuple[str, str | None] | None:
        """Why a request ends with this token, and what went wrong; None if it goes on."""
        try:
            if token_id in request.stop_ids or request.text.push(token_id):
                return "stop", None
            if request.num_output_tokens < request.max_tokens:
                return None
            return "stop" if request.text.finish() else "length", None
        except Exception as error:  # foreign code: a decoder that fails on these tokens
            self.last_error, request.text.detokenizer = error, None
            return "error", _describe(error)

    def _deliver(self, request: Request, *token_ids: int) -> None:
        """Put what is new into the queue of the request; with its end comes its output."""
        output = self._output(request) if request.is_finished else None
        logprobs = request.logprobs[-len(token_ids) :] if token_ids and request.logprobs else ()
        chunk = StreamChunk(request.request_id, request.text.take(), [*token_ids], output, request.index, logprobs)
        num_output_tokens = request.num_output_tokens
        request.queue.append(Delivery(request, num_output_tokens, chunk))  # from here on it is true
        request.num_delivered_tokens = num_output_tokens
        if output:
            self._forget(request)

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

    def _forget(self, request: Request) -> None:
        del self._requests[request.request_id]
        self._totals["finished"] += 1
        self._totals["cached_tokens"] += request.num_cached_tokens or 0
        if not self._requests:
            self._flights.clear()  # nobody is left to take what they give

    def _start_over(self) -> None:
        """Make pool and scheduler anew; whoever has not ended waits there with the tokens that were delivered."""
        self._flights.clear()
        self._make_pool()
        for request in list(self._requests.values()):
            last = next((delivery for delivery in reversed(request.queue) if delivery.request is request), None)
            if last and last.chunk.output:
                self._forget(request)
                continue
            if last:  # it may have been cut before it was counted
                request.num_delivered_tokens = max(request.num_delivered_tokens, last.num_output_tokens)
            request.rewind(request.num_delivered_tokens, self._new_text(request.params, request.prompt_token_ids))
            self.scheduler.add(request)

    # --- the pool and what works on it ----------------------------------------------------------------------

    def _make_pool(self) -> None:
        self.kv = self.pages = self.scheduler = self.runner = None  # the old pool is freed before the new one is made
        options = self.options
        limits = (options.max_num_seqs, self.max_model_len) if options.graphs else None
        pool = self.num_blocks, options.block_size, options.backend, limits
        self.runner: ModelRunner = self.ranks.call("make_pool", *pool)
        self.kv, self.runner.ranks = self.runner.kv, weakref.proxy(self.ranks)  # they have the runner: no circle
        self.pages = Pages(self.kv, prefix_cache=options.prefix_cache, eviction=options.eviction)
        self.scheduler = Scheduler(self.pages, options)

    def close(self) -> None:
        """End the other ranks of a model that is split; it computes nothing more. Else there is nothing to end."""
        self.ranks.close()

    # --- accounts -------------------------------------------------------------------------------------------

    def stats(self) -> dict[str, Any]:
        """Counts since the engine was made, and where its pages are: free + evictable + protected + private == pool.

        hit_rate: the part of all prompt tokens that was found in the prefix cache
        """
        with self._lock:
            self._tidy()
            return {
                "steps": self.num_steps,
                "waiting": len(self.scheduler.waiting),
                "running": len(self.scheduler.running),
                **self._totals,
                "hit_rate": self._totals["cached_tokens"] / max(1, self._totals["prompt_tokens"]),
                "evicted_pages": self.pages.num_evicted,
                "duplicate_pages": self.pages.num_duplicates,
                "pages": self.pages.counts(self.scheduler.running)._asdict(),
            }

    def check_integrity(self) -> None:
        """Raise AssertionError if a page, a lock or a length is not what it should be."""
        with self._lock:
            self._tidy()
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


def _wanted(taken: list[Delivery]) -> list[StreamChunk]:
    """Chunks of those who still wait. No part of `step`: Python 3.12 lets a cut in such a loop out of a `try`."""
    return [delivery.chunk for delivery in taken if delivery.request.finish_reason != "abort"]


def _describe(error: BaseException) -> str:
    """An exception in a line: what it says, and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno}, in {frames[-1].name})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"
