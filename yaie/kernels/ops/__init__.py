"""The operations of an engine, a class for each way to compute them.

`TorchOperations` runs everywhere and is the reference. `KernelOperations` launches the kernels of csrc/, on a GPU
("cuda") or under the emulator ("emulator", for looking at kernels and not for speed). Both have the same methods; each
family of them is one file here. In it `Torch` has torch's way and the contract, `Kernels` launches kernels, and the
function of an operation's name, for `kernels.api`, checks its arguments first.

An operation does not check numbers: arguments are right, or the results are not. Only what a backend cannot do at all
(a dtype, a shape) it refuses, with `BackendError`, before anything has changed.
"""

from collections.abc import Callable

from yaie.cuda.machine import obstacle
from yaie.kernels.ops import attention, memory, model, paged_attention, radix, sampling
from yaie.kernels.ops.launching import CSRC as CSRC
from yaie.kernels.ops.launching import BackendError

BACKENDS = ("torch", "cuda", "emulator")


class TorchOperations(attention.Torch, memory.Torch, paged_attention.Torch, model.Torch, radix.Torch, sampling.Torch):
    """The operations by PyTorch. `rungs`: 1 for "attention", "rms_norm" and "rope" is the plain way, see RUNGS."""

    name = "torch"


class KernelOperations(
    paged_attention.Kernels, attention.Kernels, memory.Kernels, model.Kernels, radix.Kernels, sampling.Kernels
):
    """The operations by the kernels of csrc/; what can be set: see `launching.Launching`."""


Operations = TorchOperations | KernelOperations

shared: dict[str, Operations] = {}  # by name, filled by `operations`


def operations(backend: str) -> Operations:
    """The operations of a backend by its name, the same object each time; nothing is compiled yet."""
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {BACKENDS}, got {backend!r}")
    if backend not in shared:
        shared[backend] = TorchOperations() if backend == "torch" else KernelOperations(backend)
    return shared[backend]


def resolve(backend: str, on_gpu: bool, obstacle: Callable[[str], str | None]) -> str:
    """The backend that computes for a caller who asked for `backend`, "auto" or one of `BACKENDS`.

    A backend that was asked for by its name computes, or none does. "auto" on the CPU is torch, and never the
    emulator, which is for looking at kernels; on a GPU it is cuda, unless something is in the way: then torch.

    `obstacle` says what is in the way of a backend, None if nothing is; it is asked only where the answer counts.
    ValueError: there is no such backend. BackendError: the one that was named cannot run here, or not on tensors that
    are where these are.
    """
    if backend == "auto":
        return "cuda" if on_gpu and obstacle("cuda") is None else "torch"
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {('auto', *BACKENDS)}, got {backend!r}")
    if reason := obstacle(backend):
        raise BackendError(f"backend {backend!r} cannot run here: {reason}")
    if backend != "torch" and on_gpu != (backend == "cuda"):
        places = ("the CPU", "a GPU")
        raise BackendError(
            f"backend {backend!r} takes tensors on {places[backend == 'cuda']}, got one on {places[on_gpu]}"
        )
    return backend


def available_backends(operation: str) -> list[str]:
    """The backends that can run `operation` on this machine."""
    known = [name for name in dir(TorchOperations) if name[0] != "_" and callable(getattr(TorchOperations, name))]
    if operation not in known:
        raise ValueError(f"operation must be one of {known}, got {operation!r}")
    return [backend for backend in BACKENDS if obstacle(backend) is None]
