"""What computes for a model: decided once, by trying one token."""

from typing import Any

import torch

from yaie.kernels import ops
from yaie.kernels.kv_cache import KVCacheManager
from yaie.kernels.ops import BackendError, Operations
from yaie.models.batch import Batch


@torch.inference_mode()
def try_out(model: Any, kv: KVCacheManager, operations: Operations) -> None:
    """Raise `BackendError` if kernels cannot run this model: better now than in the middle of a request.

    One token that belongs to no request goes through the model; it is stored nowhere, and sees the first slot.
    """
    if operations.name == "cuda":  # nvcc takes its time; the emulator's files are ready in a second or two
        operations.prepare()
    zero = torch.zeros(1, dtype=torch.int64, device=kv.device)
    nowhere = zero - 1  # the slot of padding
    model(Batch(zero, zero, nowhere, zero[None], zero + 1, [1], [1]), kv, operations)


def choose_operations(backend: str | Operations, model: Any, kv: KVCacheManager) -> Operations:
    """What computes for an engine that was asked for `backend`: decided once, by trying one token with kernels."""
    if not isinstance(backend, str):
        return backend
    on_gpu = kv.device.type == "cuda"

    def obstacle(name: str) -> str | None:
        if (reason := ops.obstacle(name)) or name == "torch" or on_gpu != (name == "cuda"):
            return reason
        try:
            try_out(model, kv, ops.operations(name))
        except BackendError as error:
            return str(error)
        return None

    return ops.operations(ops.resolve(backend, on_gpu, obstacle))
