"""The backends of `yaie.kernels.api`: for each a table from operation to the function that runs it.

A file of its own, because `yaie.kernels.native` registers its kernels here while `api`, which calls them, imports it.
"""

from __future__ import annotations

from collections.abc import Callable

OPERATIONS = (
    "attention_forward",
    "plan_attention",
    "paged_attention_forward",
    "copy_blocks",
    "reshape_and_cache",
    "gather_pages",
    "rms_norm",
    "rope",
    "silu_mul",
    "embedding",
    "match_prefixes",
    "choose_victims",
    "sample",
)
registered: dict[str, dict[str, Callable]] = {"torch": {}, "cuda": {}, "emulator": {}}


class BackendError(RuntimeError):
    """The backend that was asked for by name cannot run the operation here."""


def register(backend: str, operation: str) -> Callable[[Callable], Callable]:
    """Decorator: make the function the implementation of `operation` (one of `OPERATIONS`) in `backend`."""
    if backend not in registered or operation not in OPERATIONS:
        raise ValueError(
            f"cannot register {operation!r} for {backend!r}: operations are {OPERATIONS}, backends {tuple(registered)}"
        )

    def add(function: Callable) -> Callable:
        registered[backend][operation] = function
        return function

    return add
