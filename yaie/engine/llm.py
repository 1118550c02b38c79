"""The engine's front door: prompts in, text out.

llm = LLM("tiny")
outputs = llm.generate(["a=1;b=2", "c=3"], SamplingParams(temperature=0, max_tokens=8))
for chunk in llm.stream([{"role": "user", "content": "2+3="}]):
    print(chunk.text, end="")
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from yaie.engine.engine import Engine, Options
from yaie.engine.output import Delivery, RequestOutput, StreamChunk
from yaie.engine.prompts import Prompt, as_prompts
from yaie.engine.request import Request
from yaie.engine.runner import ModelRunner
from yaie.engine.sampling_params import SamplingParams
from yaie.kernels import ops
from yaie.kernels.checks import FLOATS, require
from yaie.models.shard import load_split

Params = SamplingParams | Sequence[SamplingParams] | None  # one for all prompts, or one for each


class LLM(Engine):
    """An engine that loads its model and takes prompts by the list.

    model: "tiny", a folder, a name on the Hugging Face Hub, or what `load_model` returned (so that engines share it)
    dtype: of the weights and the KV cache; None: float32 on the CPU, bfloat16 on a GPU
    device: None: a GPU if there is one, unless the backend is the emulator. Ranks take the GPUs from 0 on, or the CPU
    options: those of `yaie.engine.engine.Options`

    Threads may share it: one works while the others wait, and each gets what it would get alone. A call from inside a
    step (a signal's handler) is refused with a RuntimeError, and nothing has changed.
    """

    def __init__(
        self,
        model: str | Path | tuple = "tiny",
        *,
        dtype: torch.dtype | None = None,
        device: str | torch.device | None = None,
        **options: Any,
    ) -> None:
        checked = check_options(options)  # a misspelt one is refused before anything is loaded
        require(dtype is None or dtype in FLOATS, f"dtype must be one of {FLOATS}", dtype)
        ranks, size = None, checked.tensor_parallel
        if isinstance(model, str | Path):
            from yaie.models.loader import load_model

            device = _device_of(device, checked.backend)
            dtype = dtype or (torch.float32 if device == "cpu" else torch.bfloat16)
            if size == 1:
                model = load_model(model, dtype, device)
            else:
                what = "the backend of a model that is split must be a name"
                require(isinstance(checked.backend, str), what, checked.backend)
                ranks, model = load_split(model, dtype, device, size, ModelRunner)
        else:
            require(size == 1, "a model that is split must be a folder or a name: each rank reads its part", model)
        what = "model must be 'tiny', a folder, a name on the Hub, or what load_model returned"
        made = isinstance(model, tuple) and len(model) == 3 and hasattr(model[1], "max_position_embeddings")
        require(made, what, model)
        super().__init__(*model, checked, ranks)

    def generate(self, prompts: Prompt | Sequence[Prompt], params: Params = None) -> list[RequestOutput]:
        """Answer one prompt or many, batched; the outputs come in the order of the prompts.

        A prompt is a str (continued as it is), a list of token ids, or a chat: [{"role": ..., "content": ...}, ...] for
        the model's chat template. One that cannot be served has an output with `finish_reason="error"`.
        """
        with closing(self.stream(prompts, params)) as stream:
            outputs = {chunk.index: chunk.output for chunk in stream if chunk.output}
        return [outputs[index] for index in sorted(outputs)]

    def stream(self, prompts: Prompt | Sequence[Prompt], params: Params = None) -> Iterator[StreamChunk]:
        """As `generate`, but yields text as it comes. Closing the iterator aborts what is not finished."""
        prompts = as_prompts(prompts)
        one = SamplingParams() if params is None else params
        many = list(params) if isinstance(params, list | tuple) else [one] * len(prompts)
        for one in many:
            require(isinstance(one, SamplingParams), "params must be a SamplingParams, or a list of them", one)
        require(len(many) == len(prompts), f"{len(prompts)} prompts need one SamplingParams or as many", len(many))
        return self._stream(prompts, many)

    def _stream(self, prompts: list[Prompt], many: list[SamplingParams]) -> Iterator[StreamChunk]:
        queue: deque[Delivery] = deque()
        made: list[Request] = []
        try:
            for index, (prompt, params) in enumerate(zip(prompts, many, strict=True)):
                with self._lock:
                    request_id = self._free_id()
                    try:
                        self._add(prompt, params, request_id, queue, made, index)
                    except ValueError as error:
                        self._num_requests += 1  # its number is taken, so those after it draw as they would without it
                        output = RequestOutput(request_id, "", [], [], 0, "error", error=str(error))
                        queue.append(Delivery(None, 0, StreamChunk(request_id, "", [], output, index)))
            num_left = len(prompts)
            while num_left:
                for chunk in self._next_chunks(queue):
                    num_left -= chunk.output is not None
                    yield chunk
        finally:
            self._forgotten.extend(made)
            self._tidy()


def check_options(options: dict[str, Any]) -> Options:
    """The keywords of an `LLM` besides those of its model. TypeError: there is no such one; ValueError: a wrong one."""
    names = [field.name for field in fields(Options)]
    if unknown := ", ".join(str(name) for name in options if name not in names):
        raise TypeError(f"LLM has no option {unknown}; there are model, dtype, device, {', '.join(names)}")
    return Options(**options)


def _device_of(device: str | torch.device | None, backend: str | ops.Operations) -> str:
    """Where a model goes: where it was asked for, else a GPU if there is one and the backend takes it."""
    gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    there_are = ["cpu", "cuda", *gpus] if gpus else ["cpu"]
    if device is not None:
        require(str(device) in there_are, f"device must be one that torch finds here ({', '.join(there_are)})", device)
        return str(device)
    name = getattr(backend, "name", backend)
    if name != "auto":
        ops.resolve(name, name == "cuda", ops.obstacle)  # raises where there is no GPU, or no compiler
    return "cuda" if gpus and name != "emulator" else "cpu"
