"""The kernels of `csrc/` behind `yaie.kernels.api`: for a GPU or for the emulator, compiled on first use.

For a GPU they can also be built ahead of time, into the module `yaie_kernels` (`pip install ./csrc`). Its launchers are
called like those that are built on first use, and are used if they were built from the text that their file has now.

One module per family calls the family's launchers with tensors. Its functions are written once and registered for
the backends `cuda` and `emulator` (`implements`). All of them get their launchers from `module`, so a learner's
function that is put into a file of `csrc/` (`replaced`) runs wherever the engine's own would.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path

import torch

import yaie.cuda
from yaie.kernels.backends import register

CSRC = Path(__file__).resolve().parents[3] / "csrc"
DTYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}  # as in csrc/common.cuh
BACKENDS = ("cuda", "emulator")
# The files whose kernels a step of the engine may launch.
OF_A_STEP = (
    "paged_attention/paged_decode_5_async.cu",
    "paged_attention/paged_prefill.cu",
    "flash_attention/flash_attention_4_tensor_cores.cu",
    "memory/gather_pages.cu",
    "memory/reshape_and_cache.cu",
    "model_ops/rms_norm.cu",
    "model_ops/rope.cu",
    "model_ops/silu_mul.cu",
    "model_ops/embedding.cu",
)
# How replaced text is compiled in check mode. A learner waits for it, so a file may then leave element types out.
CHECK_FLAGS = ("-DYAIE_DTYPES=3", "-DYAIE_MAX_HEAD_DIM=128")  # see csrc/common.cuh

# By path under csrc/: the text to compile in the place of the file's own. Filled by the course.
replaced: dict[str, str] = {}

# Seconds after which the emulator stops a call. The course sets less, so that an endless loop is named in time.
time_limit = 20.0


def module(name: str, backend: str, *, check: bool = False) -> yaie.cuda.Module:
    """The launchers of `csrc/<name>`, such as "memory/copy_blocks.cu".

    `backend` is "cuda" or "emulator"; `check` (emulator only) looks for races, overruns and the like.
    """
    return _load(name, backend, check, replaced.get(name), time_limit)


def learners_rung(family: str, rungs: dict[int, str], fastest: int) -> int:
    """The rung that an operation takes: the fastest, or the fastest of those that hold a part of the learner's.

    A learner wants to see their part run, also where the engine has a faster kernel.
    """
    theirs = [rung for rung, name in rungs.items() if rung <= fastest and f"{family}/{name}.cu" in replaced]
    return max(theirs, default=fastest)


@cache
def _load(name: str, backend: str, check: bool, text: str | None, limit: float) -> yaie.cuda.Module:
    return yaie.cuda.load(
        text or CSRC / name,
        path=CSRC / name if text else None,
        backend=backend,
        check=check,
        time_limit=limit,
        flags=CHECK_FLAGS if text and check else (),
    )


def implements(operation: str) -> Callable[[Callable], Callable]:
    """Decorator: register `function(backend, *arguments)` for `operation` of `yaie.kernels.api`, in both backends.

    It gets arguments that `api` has checked. What it cannot take (a dtype, a shape) it refuses with
    `BackendError` before it launches anything: `backend="auto"` then falls back on torch.
    """

    def add(function: Callable) -> Callable:
        for backend in BACKENDS:
            register(backend, operation)(partial(function, backend))
        return function

    return add


def prepare(backend: str) -> None:
    """Compile what the engine's steps need, several files at a time; `module` then finds it done."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: module(name, backend), OF_A_STEP))


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
        if yaie.cuda.find_prebuilt() is None and not yaie.cuda.find_nvcc():
            return "its kernels are compiled with nvcc, which was not found"
        return None
    try:
        yaie.cuda.find_compiler()
    except yaie.cuda.CompileError as error:
        return str(error)
    return None
