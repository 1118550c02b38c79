"""The engine's front door: prompts in, text out.

llm = LLM("tiny")
outputs = llm.generate(["a=1;b=2", "c=3"], SamplingParams(temperature=0, max_tokens=8))
for chunk in llm.stream([{"role": "user", "content": "2+3="}]):
    print(chunk.text, end="")
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from yaie.engine.engine import Engine, Options, name_of
from yaie.engine.output import RequestOutput, StreamChunk
from yaie.engine.prompts import Prompt, as_prompts
from yaie.engine.sampling_params import SamplingParams
from yaie.kernels import ops

Params = SamplingParams | Sequence[SamplingParams] | None  # one for all prompts, or one for each


class LLM(Engine):
    """An engine that loads its model and takes prompts by the list.

    model: "tiny", a folder, a name on the Hugging Face Hub, or what `yaie.models.loader.load_model` returned (so that
        several engines share one model)
    dtype: of the weights and the KV cache; None: float32 on the CPU, bfloat16 on a GPU
    device: None: a GPU if there is one, unless the backend is the emulator
    options: those of `yaie.engine.engine.Options`
    """

    def __init__(
        self,
        model: str | Path | tuple = "tiny",
        *,
        dtype: torch.dtype | None = None,
        device: str | None = None,
        **options: Any,
    ) -> None:
        checked = Options(**options)  # a misspelt one is refused before anything is loaded
        if isinstance(model, str | Path):
            from yaie.models.loader import load_model

            device = device or _device_of(checked.backend)
            dtype = dtype or (torch.float32 if device == "cpu" else torch.bfloat16)
            model = load_model(model, dtype, device)
        super().__init__(*model, checked)

    def generate(self, prompts: Prompt | Sequence[Prompt], params: Params = None) -> list[RequestOutput]:
        """Answer one prompt or many, batched; the outputs come in the order of the prompts.

        A prompt is a str (continued as it is), a list of token ids, or a chat: a list of {"role": ..., "content": ...},
        which goes through the model's chat template. A prompt that cannot be served has an output with
        `finish_reason="error"`, and the others are served.
        """
        outputs = {chunk.index: chunk.output for chunk in self.stream(prompts, params) if chunk.output}
        return [outputs[index] for index in sorted(outputs)]

    def stream(self, prompts: Prompt | Sequence[Prompt], params: Params = None) -> Iterator[StreamChunk]:
        """As `generate`, but yields text as it comes. Closing the iterator aborts what is not finished."""
        prompts = as_prompts(prompts)
        many = [params or SamplingParams()] * len(prompts) if not isinstance(params, Sequence) else list(params)
        if len(many) != len(prompts):
            raise ValueError(f"{len(prompts)} prompts need one SamplingParams or {len(prompts)}, got {len(many)}")
        return self._stream(prompts, many)

    def _stream(self, prompts: list[Prompt], many: list[SamplingParams]) -> Iterator[StreamChunk]:
        queue: deque[StreamChunk] = deque()
        index_of: dict[str, int] = {}  # unfinished
        try:
            for index, (prompt, params) in enumerate(zip(prompts, many, strict=True)):
                request_id = self._free_id()
                try:
                    self._add(prompt, params, request_id, queue)
                except ValueError as error:
                    self._num_requests += 1  # its number is taken, so those after it draw as they would without it
                    output = RequestOutput(request_id, "", [], [], 0, "error", error=str(error))
                    yield StreamChunk(request_id, "", [], output, index)
                else:
                    index_of[request_id] = index
            while index_of:
                while not queue:
                    self._queue.extend(self.step())  # chunks of other requests wait for whoever calls `step` next
                chunk = queue.popleft()
                index = index_of[chunk.request_id]
                if chunk.output:
                    del index_of[chunk.request_id]
                yield replace(chunk, index=index)
        finally:
            for request_id in index_of:
                if request_id in self._requests:
                    self.abort(request_id)


def _device_of(backend: str | ops.Operations) -> str:
    """Where a model must be for a backend; for "auto" and "torch" a GPU if there is one."""
    name = name_of(backend)
    if name != "auto":
        ops.resolve(name, name == "cuda", ops.obstacle)  # raises for an unknown name, and where there is no GPU
    return "cuda" if name != "emulator" and torch.cuda.is_available() else "cpu"
