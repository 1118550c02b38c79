"""The kernels of `csrc/` behind `yaie.kernels.api`: compiled on first use, for a GPU or for the emulator.

One module per family calls the family's launchers with tensors. Its functions are written once and registered for
the backends `cuda` and `emulator` (`implements`). All of them get their launchers from `module`, so a learner's
function that is put into a file of `csrc/` (`replaced`) runs wherever the engine's own would.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import torch

import yaie.cuda

CSRC = Path(__file__).resolve().parents[3] / "csrc"
DTYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}  # as in csrc/common.cuh
BACKENDS = ("cuda", "emulator")

# By path under csrc/: the text to compile in the place of the file's own. Filled by the course.
replaced: dict[str, str] = {}

# Seconds after which the emulator stops a call. The course sets less, so that an endless loop is named in time.
time_limit = 20.0


def module(name: str, backend: str, *, check: bool = False) -> yaie.cuda.Module:
    """The launchers of `csrc/<name>`, such as "memory/copy_blocks.cu".

    `backend` is "cuda" or "emulator"; `check` (emulator only) looks for races, overruns and the like.
    """
    return _load(name, backend, check, replaced.get(name), time_limit)


@cache
def _load(name: str, backend: str, check: bool, text: str | None, limit: float) -> yaie.cuda.Module:
    return yaie.cuda.load(
        text or CSRC / name, path=CSRC / name if text else None, backend=backend, check=check, time_limit=limit
    )


def implements(operation: str) -> Callable[[Callable], Callable]:
    """Decorator: register `function(backend, *arguments)` for `operation` of `yaie.kernels.api`, in both backends.

    It gets arguments that `api` has checked. What it cannot take (a dtype, a shape) it refuses with
    `api.BackendError` before it launches anything: `backend="auto"` then falls back on torch.
    """
    from yaie.kernels import api

    def add(function: Callable) -> Callable:
        for backend in BACKENDS:
            api.register(backend, operation)(partial(function, backend))
        return function

    return add


def register_all() -> None:
    """Import every family, which registers its operations. Nothing is compiled."""
    for family in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{family.name}")


@cache
def obstacle(backend: str) -> str | None:
    """Why no kernel can run in `backend` on this machine; None if nothing is in the way."""
    if backend == "cuda":
        if not torch.cuda.is_available():
            return "torch finds no GPU"
        return None if yaie.cuda.find_nvcc() else "compiling for the GPU needs nvcc, which was not found"
    try:
        yaie.cuda.find_compiler()
    except yaie.cuda.CompileError as error:
        return str(error)
    return None
