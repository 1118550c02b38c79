"""The engine's front door: prompts in, text out.

    llm = LLM("tiny")
    outputs = llm.generate(["a=1;b=2", "c=3"], SamplingParams(temperature=0, max_tokens=8))
    for chunk in llm.stream([{"role": "user", "content": "2+3="}]):
        print(chunk.text, end="")

One step: `Scheduler.schedule` chooses requests and gives them pages, `ModelRunner.run` computes their tokens, and each
request takes what it got (`LLM._take`). When something fails:

- a prompt that cannot be served is refused by `add_request` with a ValueError that names the request; `generate` and
  `stream` report the same text as the output of that one prompt (`finish_reason="error"`) and serve the others;
- numbers that are not finite end the request that they belong to;
- an exception while the model runs ends the requests of that step;
- an exception in the bookkeeping (a bug, perhaps in an exercise that is in place) ends all requests, because nobody
  knows any more whose pages are whose, and the pool is made anew.

In each case the engine goes on serving. `LLM.last_error` keeps the exception with its traceback.
"""

from __future__ import annotations

import contextlib
import hashlib
import traceback
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from yaie.engine.cuda_graph import DecodeGraphs
from yaie.engine.output import RequestOutput, StreamChunk, TextStream
from yaie.engine.pages import Pages
from yaie.engine.request import Request, Status
from yaie.engine.runner import ModelRunner, StepResult, choose_operations
from yaie.engine.sampling_params import SamplingParams
from yaie.engine.scheduler import Scheduler
from yaie.engine.trace import StepRecord
from yaie.kernels import ops
from yaie.kernels.kv_cache import KVCacheManager

Prompt = str | Sequence[int] | Sequence[Mapping[str, Any]]

# What the pool may take if `num_blocks` is not given.
CPU_POOL_BYTES = 256 * 2**20
GPU_POOL_FRACTION = 0.8
EMULATOR_POOL_BYTES = 8 * 2**20  # each launch copies a layer of it to the emulator's memory and back


class LLM:
    """A model with its engine.

    Args:
        model: "tiny", a folder, a name on the Hugging Face Hub, or what `yaie.models.loader.load_model` returned (so
            that several engines share one model)
        backend: what computes: "torch", "cuda" (the kernels of csrc/ on a GPU), "emulator" (the same kernels on the
            CPU, slowly: for looking at them), or "auto": "cuda" on a GPU as far as its kernels go, else "torch".
            With kernels, the decoder's functions in Python (those of lessons 03 and 05) are not called
        parts: "exercises" puts the exercises that you have solved in the place of the engine's own functions; `parts`
            (the attribute) says whose code runs
        dtype: of the weights and the KV cache; None: float32 on the CPU, bfloat16 on a GPU
        device: None: a GPU if there is one
        block_size: tokens per page
        num_blocks: pages in the pool; None: what fits into 256 MiB of memory (8 MiB with the emulator), or into 80% of
            the GPU's free memory
        max_num_batched_tokens: how many tokens a step computes at most; a longer prompt is computed in chunks
        max_num_seqs: how many requests run at once at most
        max_model_len: prompt and answer together; None: what the model was trained for
        prefix_cache: keep computed pages and reuse them for prompts that begin alike
        policy: who is admitted first: "fcfs" or "longest_prefix"
        eviction: which cached pages go first: "lru", "lfu" or "fifo"
        seed: a request without a seed of its own draws from this and its number, so a run can be repeated
        graphs: replay decode steps in the place of asking for each operation: on a GPU with kernels from CUDA
            graphs (`yaie.engine.cuda_graph`), on a CPU those of a single request from a recording (`.cpu_graph`)
        trace: keep a `StepRecord` of every step in the attribute `trace`

    Raises:
        BackendError: the backend cannot run on this machine, or not with a model of this shape or dtype
    """

    def __init__(
        self,
        model: str | Path | tuple = "tiny",
        *,
        backend: str = "auto",
        parts: str | None = None,
        dtype: torch.dtype | None = None,
        device: str | None = None,
        block_size: int = 16,
        num_blocks: int | None = None,
        max_num_batched_tokens: int = 2048,
        max_num_seqs: int = 64,
        max_model_len: int | None = None,
        prefix_cache: bool = True,
        policy: str = "fcfs",
        eviction: str = "lru",
        seed: int = 0,
        graphs: bool = True,
        trace: bool = False,
    ) -> None:
        if parts not in (None, "exercises"):
            raise ValueError(f"parts must be None or 'exercises', got {parts!r}")
        if isinstance(model, str | Path):
            from yaie.models.loader import load_model

            device = device or _device_of(backend)
            dtype = dtype or (torch.float32 if device == "cpu" else torch.bfloat16)
            model = load_model(model, dtype, device)
        self.model, self.config, self.tokenizer = model
        self.backend = backend
        self.seed = seed
        self.max_model_len = max_model_len or self.config.max_position_embeddings
        if self.max_model_len > self.config.max_position_embeddings:
            raise ValueError(
                f"max_model_len={max_model_len} is more than the model's {self.config.max_position_embeddings}"
            )
        self._pool = {
            "num_blocks": num_blocks or self._default_num_blocks(block_size, max_num_seqs),
            "block_size": block_size,
            "num_heads": self.config.num_kv_heads,
            "head_dim": self.config.head_dim,
            "num_layers": self.config.num_layers,
            "dtype": self.model.dtype,
            "device": self.model.device,
        }
        self._page_options = {"prefix_cache": prefix_cache, "eviction": eviction}
        self._scheduler_options = {
            "max_num_batched_tokens": max_num_batched_tokens,
            "max_num_seqs": max_num_seqs,
            "policy": policy,
        }
        self.trace: list[StepRecord] | None = [] if trace else None
        self.last_error: BaseException | None = None
        self.num_steps = 0
        self._requests: dict[str, Request] = {}  # unfinished
        self._num_requests = 0
        self._totals = dict.fromkeys(
            ("finished", "prompt_tokens", "cached_tokens", "computed_tokens", "generated_tokens", "preemptions"), 0
        )
        self._mail: dict[str, deque[StreamChunk]] = {}  # request -> the queue of the stream that it belongs to
        self._unclaimed: list[StreamChunk] = []
        self._exercises = _passed_exercises() if parts == "exercises" else ()
        self._exercises_are_in_place = False
        self._graphs = graphs
        self.operations = None
        self._make_pool()

    # --- for everybody --------------------------------------------------------------------------------------

    def generate(
        self, prompts: Prompt | Sequence[Prompt], params: SamplingParams | Sequence[SamplingParams] | None = None
    ) -> list[RequestOutput]:
        """Answer one prompt or many, batched; the outputs come in the order of the prompts.

        A prompt is a str (continued as it is), a list of token ids, or a chat: a list of {"role": ..., "content": ...},
        which goes through the model's chat template. `params` is one for all, or one for each.
        """
        with self._exercises_in_place():  # once for all steps
            outputs = {chunk.index: chunk.output for chunk in self.stream(prompts, params) if chunk.output}
        return [outputs[index] for index in sorted(outputs)]

    def stream(
        self, prompts: Prompt | Sequence[Prompt], params: SamplingParams | Sequence[SamplingParams] | None = None
    ) -> Iterator[StreamChunk]:
        """As `generate`, but yields text as it comes. To close the iterator aborts what is not finished."""
        prompts = as_prompts(prompts)
        many = [params or SamplingParams()] * len(prompts) if not isinstance(params, Sequence) else list(params)
        if len(many) != len(prompts):
            raise ValueError(f"{len(prompts)} prompts need one SamplingParams or {len(prompts)}, got {len(many)}")
        return self._stream(prompts, many)

    def add_request(self, prompt: Prompt, params: SamplingParams | None = None, request_id: str | None = None) -> str:
        """Put a request in line for the coming steps and return its id.

        Raises ValueError, naming the request, if it could never be served: no tokens, tokens that the model does not
        know, more tokens than the model or the pool holds, an id that is in use. Nothing has changed then.
        """
        params = params or SamplingParams()
        request_id = request_id or f"request-{self._num_requests}"
        token_ids = self._encode(prompt, request_id)
        self._check(request_id, token_ids)
        request = Request(
            request_id=request_id,
            token_ids=token_ids,
            num_prompt_tokens=len(token_ids),
            params=params,
            arrival=self._num_requests,
            max_tokens=min(params.max_tokens, self._max_len - len(token_ids)),
            text=TextStream(self.tokenizer.detokenizer() if self.tokenizer else None, params.stop),
            generator=self._generator(params.seed),
        )
        self._num_requests += 1
        self._totals["prompt_tokens"] += len(token_ids)
        self._requests[request_id] = request
        self.scheduler.add(request)
        return request_id

    def step(self) -> list[StreamChunk]:
        """Compute one step and return what it gave to each request that was added with `add_request`."""
        chunks = self._unclaimed
        self._unclaimed = []
        for chunk in self._step():
            if chunk.request_id in self._mail:
                self._mail[chunk.request_id].append(chunk)
            else:
                chunks.append(chunk)
        return chunks

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

    @property
    def parts(self) -> Any:
        """Whose code runs: the engine's own, or yours for the exercises that you have solved."""
        from yaie.course import parts

        with self._exercises_in_place():
            return parts.who_runs()

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
        """Raise AssertionError or RuntimeError if a page, a lock or a length is not what it should be."""
        self.pages.check_integrity(self.scheduler.running)
        unfinished = {*self.scheduler.waiting, *self.scheduler.running}
        if unfinished != set(self._requests.values()):
            raise AssertionError("the scheduler's requests are not the unfinished ones")
        for request in unfinished:
            request.check()

    # --- one step -------------------------------------------------------------------------------------------

    def _step(self) -> list[StreamChunk]:
        if not self._requests:
            return []
        with self._exercises_in_place():
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
                chunks = [self._take(request, scheduled[request], results[request]) for request in scheduled]
            except BaseException as error:
                return self._start_over(error)
        if self.trace is not None:
            finished = {chunk.request_id: chunk.output.finish_reason for chunk in chunks if chunk.output}
            pages = self.pages.counts(self.scheduler.running)
            self.trace.append(StepRecord(self.num_steps, work, finished, pages))
        self.num_steps += 1
        return chunks

    def _take(self, request: Request, num_tokens: int, result: StepResult) -> StreamChunk:
        """A request takes what a step gave it: computed tokens, perhaps a new token, perhaps its end."""
        if result.error is not None:
            request.error = f"request {request.request_id!r}: {result.error}"
            self._finish(request, "error", keep=False)
            return self._chunk(request, [])
        was_prefill = not request.is_decode
        request.num_computed_tokens += num_tokens
        self._totals["computed_tokens"] += num_tokens
        if was_prefill and self.pages.keeps_prefixes:
            self.pages.publish(request)
        if result.token_id is None:
            return self._chunk(request, [])
        request.token_ids.append(result.token_id)
        self._totals["generated_tokens"] += 1
        if result.logprobs is not None:
            request.logprobs.append(result.logprobs)
        if reason := self._reason_to_end(request, result.token_id):
            self._finish(request, reason)
        return self._chunk(request, [result.token_id])

    def _reason_to_end(self, request: Request, token_id: int) -> str | None:
        params = request.params
        if token_id in params.stop_token_ids:
            return "stop"
        if not params.ignore_eos and self.tokenizer and token_id in self.tokenizer.eos_token_ids:
            return "stop"
        if request.text.push(token_id):
            return "stop"
        return "length" if request.num_output_tokens >= request.max_tokens else None

    def _finish(self, request: Request, reason: str, *, keep: bool = True) -> None:
        self.scheduler.finish(request, reason, keep=keep)
        self._forget(request)

    def _forget(self, request: Request) -> None:
        request.text.finish()
        del self._requests[request.request_id]
        self._totals["finished"] += 1
        self._totals["cached_tokens"] += request.num_cached_tokens or 0

    def _start_over(self, error: BaseException) -> list[StreamChunk]:
        """After an exception in the bookkeeping: end all requests and make the pool anew."""
        self.last_error = error
        requests = list(self._requests.values())
        for request in requests:
            request.status, request.finish_reason = Status.FINISHED, "error"
            request.error = f"request {request.request_id!r}: {_describe(error)}"
            self._forget(request)
        self._make_pool()
        if not isinstance(error, Exception):
            raise error
        return [self._chunk(request, []) for request in requests]

    def _make_pool(self) -> None:
        self.kv = self.pages = self.scheduler = self.runner = None  # the old pool is freed before the new one is made
        self.kv = KVCacheManager(**self._pool)
        self.pages = Pages(self.kv, **self._page_options)
        self.scheduler = Scheduler(self.pages, **self._scheduler_options)
        if self.operations is None:
            self.operations = choose_operations(self.backend, self.model, self.kv)
        self.runner = ModelRunner(self.model, self.kv, self.operations)
        if self._graphs and self.operations.name == "cuda":
            self.runner.graphs = DecodeGraphs(
                self.model, self.kv, self.operations, self._scheduler_options["max_num_seqs"], self.max_model_len
            )

    # --- into and out of a request --------------------------------------------------------------------------

    @property
    def _max_len(self) -> int:
        """Tokens of a request in all, prompt and answer: the model's limit or the pool's."""
        return min(self.max_model_len, self.kv.num_blocks * self.kv.block_size)

    def _encode(self, prompt: Prompt, request_id: str) -> list[int]:
        if not isinstance(prompt, str):
            try:
                prompt = list(prompt)
            except TypeError:
                raise ValueError(
                    f"request {request_id!r}: a prompt is a str, a list of token ids or a list of messages, "
                    f"got {type(prompt).__name__}"
                ) from None
        if isinstance(prompt, list) and not (prompt and isinstance(prompt[0], Mapping)):
            return prompt
        if self.tokenizer is None:
            raise ValueError(f"request {request_id!r}: this model has no tokenizer, so prompts must be token ids")
        try:
            if isinstance(prompt, str):
                return self.tokenizer.encode(prompt)
            for place, message in enumerate(prompt):
                for key in ("role", "content"):
                    if key not in message:
                        raise ValueError(f"message {place} has no {key!r}: {message!r}")
            return self.tokenizer.apply_chat_template(prompt)
        except (TypeError, ValueError) as error:
            raise ValueError(f"request {request_id!r}: {error}") from error

    def _check(self, request_id: str, token_ids: list[int]) -> None:
        if request_id in self._requests:
            raise ValueError(f"request {request_id!r}: this id belongs to an unfinished request")
        if not token_ids:
            raise ValueError(f"request {request_id!r}: the prompt is empty; it needs at least one token")
        vocab_size = self.config.vocab_size
        for place, token_id in enumerate(token_ids):
            if not isinstance(token_id, int) or isinstance(token_id, bool) or not 0 <= token_id < vocab_size:
                raise ValueError(
                    f"request {request_id!r}: token {place} of the prompt is {token_id!r}; "
                    f"the model knows the ids 0 to {vocab_size - 1}"
                )
        if len(token_ids) >= self.max_model_len:
            raise ValueError(
                f"request {request_id!r}: a prompt of {len(token_ids)} tokens leaves no room for an answer; "
                f"prompt and answer together may have {self.max_model_len}"
            )
        if len(token_ids) >= self._max_len:
            raise ValueError(
                f"request {request_id!r}: a prompt of {len(token_ids)} tokens does not fit; the pool holds "
                f"{self.kv.num_blocks} pages of {self.kv.block_size} tokens, {self._max_len} in all"
            )

    def _generator(self, seed: int | None) -> torch.Generator:
        if seed is None:
            text = f"{self.seed} {self._num_requests}".encode()
            seed = int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "little")
        return torch.Generator().manual_seed(seed)

    def _chunk(self, request: Request, token_ids: list[int]) -> StreamChunk:
        output = self._output(request) if request.is_finished else None
        return StreamChunk(request.request_id, request.text.take(), token_ids, output)

    def _output(self, request: Request) -> RequestOutput:
        return RequestOutput(
            request_id=request.request_id,
            text=request.text.text,
            token_ids=request.output_token_ids,
            prompt_token_ids=request.prompt_token_ids,
            num_cached_tokens=request.num_cached_tokens or 0,
            finish_reason=request.finish_reason,
            logprobs=request.logprobs if request.params.logprobs is not None else None,
            error=request.error,
        )

    def _stream(self, prompts: list[Prompt], many: list[SamplingParams]) -> Iterator[StreamChunk]:
        queue: deque[StreamChunk] = deque()
        index_of: dict[str, int] = {}
        try:
            for index, (prompt, params) in enumerate(zip(prompts, many, strict=True)):
                request_id = f"request-{self._num_requests}"
                try:
                    self.add_request(prompt, params, request_id)
                except ValueError as error:
                    self._num_requests += 1  # its number is taken, so those after it draw as they would without it
                    output = RequestOutput(request_id, "", [], [], 0, "error", error=str(error))
                    yield StreamChunk(request_id, "", [], output, index)
                else:
                    index_of[request_id] = index
                    self._mail[request_id] = queue
            while index_of:
                while not queue:
                    self._unclaimed = self.step()
                chunk = queue.popleft()
                index = index_of[chunk.request_id]
                if chunk.output:
                    del index_of[chunk.request_id], self._mail[chunk.request_id]
                yield replace(chunk, index=index)
        finally:
            for request_id in index_of:
                del self._mail[request_id]
                if request_id in self._requests:
                    self.abort(request_id)

    # --- odds and ends --------------------------------------------------------------------------------------

    def _default_num_blocks(self, block_size: int, max_num_seqs: int) -> int:
        element = torch.empty((), dtype=self.model.dtype).element_size()
        config = self.config
        bytes_per_block = 2 * config.num_layers * block_size * config.num_kv_heads * config.head_dim * element
        if self.model.device.type == "cuda":
            budget = int(torch.cuda.mem_get_info(self.model.device)[0] * GPU_POOL_FRACTION)
        else:
            budget = (
                EMULATOR_POOL_BYTES if getattr(self.backend, "name", self.backend) == "emulator" else CPU_POOL_BYTES
            )
        useful = max_num_seqs * -(-self.max_model_len // block_size)
        return max(1, min(useful, budget // bytes_per_block))

    def _work(self, scheduled: dict[Request, int]) -> dict[str, tuple[str, int]]:
        """What the coming step does with each unfinished request, for the trace."""
        work = {}
        for request in self._requests.values():
            if request in scheduled:
                work[request.request_id] = ("decode" if request.is_decode else "prefill", scheduled[request])
            else:
                waits_again = request.status is Status.WAITING and request.num_preemptions > 0
                work[request.request_id] = ("preempted" if waits_again else "waiting", 0)
        return work

    @contextlib.contextmanager
    def _exercises_in_place(self) -> Iterator[None]:
        """The learner's functions are the engine's while this lasts, and not between steps or for other engines."""
        if not self._exercises or self._exercises_are_in_place:
            yield
            return
        from yaie.course import parts

        with parts.installed(self._exercises):
            self._exercises_are_in_place = True
            try:
                yield
            finally:
                self._exercises_are_in_place = False


def as_prompts(prompts: Prompt | Sequence[Prompt]) -> list[Prompt]:
    """One prompt or many, as a list of prompts. A list of ints is one prompt, and so is a list of messages."""
    if isinstance(prompts, str):
        return [prompts]
    prompts = list(prompts)
    if prompts and isinstance(prompts[0], int | Mapping):
        return [prompts]
    return prompts


def _device_of(backend: str) -> str:
    """Where a model must be for a backend; for "auto" and "torch" a GPU if there is one."""
    if isinstance(backend, str) and backend != "auto":
        ops.resolve(backend, backend == "cuda", ops.obstacle)  # an unknown name, or no GPU
    return "cuda" if getattr(backend, "name", backend) != "emulator" and torch.cuda.is_available() else "cpu"


def _describe(error: BaseException) -> str:
    """An exception in a line: what it says, and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno}, in {frames[-1].name})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"


def _passed_exercises() -> tuple[str, ...]:
    from yaie.course import parts

    return tuple(parts.passed_parts())
