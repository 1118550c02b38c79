"""The decode step of a single request on a CPU, from a recording.

With a small model such a step is some hundred operations of a few microseconds each, and Python takes longer to ask for
one than PyTorch to do it. A recording (`torch.jit.trace`) is the list of these operations without the Python around
them. It gives the same numbers, up to rounding: PyTorch may do a product and the sum after it in one. It is to the CPU
what a CUDA graph is to a GPU (`yaie.engine.cuda_graph`); unlike that it serves contexts of every length.

What is recorded is the code as it stands then. Where a function of it has been replaced since (by an exercise, by a
test), the step runs as usual, so that whoever replaced it sees it run.
"""

from __future__ import annotations

import math
import operator
import warnings
import weakref
from collections.abc import Callable
from types import FunctionType, SimpleNamespace
from typing import Any

import torch

from yaie.kernels import api, model_ops, radix_attention
from yaie.kernels.kv_cache import KVCacheManager
from yaie.models import llama
from yaie.models.batch import Batch

RECORD_AFTER = 32  # steps of a single request: to record takes as long as about 40 steps of the tiny model

# The code of a step: where each function is, and its name there.
_CODE = [
    (vars(holder), name)
    for holder in (radix_attention, model_ops, llama, llama.Llama, llama.DecoderBlock, llama.SelfAttention)
    for name, value in vars(holder).items()
    if isinstance(value, FunctionType) and value.__module__.startswith("yaie.")
]


class Recording:
    """A recorded step of a model, whatever pool it runs over, and the code that it was made from."""

    def __init__(self) -> None:
        self.num_steps: float = 0
        self.replay: Callable[..., torch.Tensor] | None = None
        self.code: list[Any] = []


# All engines of a model share its recording.
_recordings: weakref.WeakKeyDictionary[Any, Recording] = weakref.WeakKeyDictionary()


class RecordedDecode:
    """The decode steps of single requests over one pool; recorded after the first `RECORD_AFTER` of the model.

    Args:
        model: called as `model(batch, kv, operations, plan)`; `yaie.models.llama.Llama` on a CPU.
        operations: torch's.
    """

    def __init__(self, model: Any, kv: KVCacheManager, operations: api.Unchecked) -> None:
        self.model, self.kv, self.operations = model, kv, operations
        self.recording = _recordings.setdefault(model, Recording())

    @staticmethod
    def serves(model: Any, kv: KVCacheManager, operations: api.Unchecked) -> bool:
        """Whether the steps of this model may be recorded: what is recorded here has been tried."""
        on_cpu = kv.device.type == "cpu" and operations.backend == "torch"
        return on_cpu and type(model) is llama.Llama and model.dtype == kv.dtype in (torch.float32, torch.float64)

    def takes(self, batch: Batch) -> bool:
        """Whether the batch is one token of one request, and a recording of the code in place is there."""
        if batch.token_ids.shape[0] != 1:
            return False
        recording = self.recording
        recording.num_steps += 1
        if recording.num_steps <= RECORD_AFTER:
            return False
        if recording.replay is None:
            try:
                self._record(batch)
            except Exception as error:
                # A Python or a PyTorch that cannot record: every step runs as usual, for good.
                recording.num_steps = -math.inf
                message = f"decode steps run without a recording, slower: {type(error).__name__}: {error}"
                warnings.warn(message, RuntimeWarning, stacklevel=2)
                return False
        return all(map(operator.is_, self._code_in_place(), recording.code))

    def run(self, batch: Batch) -> torch.Tensor:
        """The hidden state `[1, hidden_size]` of a batch that `takes` said yes to."""
        assert self.recording.replay is not None
        return self.recording.replay(*self._inputs(batch))

    def _inputs(self, batch: Batch) -> tuple[torch.Tensor, ...]:
        pages = batch.block_tables, batch.lengths, batch.query_lens
        plan = self.operations.plan_attention(*pages, self.kv.key_cache[0])
        caches = self.kv.key_cache, self.kv.value_cache
        return batch.token_ids, batch.positions, batch.slot_mapping, plan.decode[0].kv_rows, *caches

    def _record(self, batch: Batch) -> None:
        # The recording keeps this function, so neither the model nor a pool may hang on it.
        model, operations = weakref.proxy(self.model), api.Unchecked("torch", batch.token_ids)

        def step(token_ids, positions, slot_mapping, kv_rows, key_cache, value_cache):
            whole = radix_attention.DecodeBatch(slice(0, 1), kv_rows, None)
            plan = radix_attention.AttentionPlan(1, [], [whole], [])
            one = Batch(token_ids, positions, slot_mapping, batch.block_tables, batch.context_lens, [1], [1])
            return model(one, SimpleNamespace(key_cache=key_cache, value_cache=value_cache), operations, plan)

        self.recording.code = self._code_in_place()
        with warnings.catch_warnings():
            # A fixed way through the code is the point. (PyTorch means to replace `trace` by `torch.export` one day.)
            warnings.simplefilter("ignore")
            self.recording.replay = torch.jit.trace(step, self._inputs(batch), check_trace=False)

    def _code_in_place(self) -> list[Any]:
        return [
            *(names.get(name) for names, name in _CODE),
            self.operations.reshape_and_cache,
            self.operations.paged_attention_forward,
            self.model.dtype,
        ]
