"""CUDA on every machine: one ``.cu`` file, compiled by nvcc where there is a GPU, by g++ or clang++ where
there is none.

    module = yaie.cuda.load("vector_add.cu")
    module.vector_add(a, b, c, a.numel())     # an extern "C" launcher, with tensors
    print(module.profile())                   # how it touched memory
    print(module.estimate("h100", "vector_add", a, b, c, n))  # how long that would take on a card

A launcher is ``extern "C" int name(const float* x, float* y, int n, cudaStream_t stream)``; it launches
kernels and returns ``cudaGetLastError()``. Pointers take contiguous tensors of the matching dtype, numbers
take numbers, a struct of numbers takes a mapping or the like with its fields, and the stream may be left out.
Without a GPU the kernels run in our emulator (``yaie/cuda/emulated``): in check mode it finds races, overruns,
divergent barriers and the like and raises :class:`KernelError`; in fast mode it only runs, on all cores.

The emulator does not have inline PTX (except as functions of ``yaie_ptx.cuh`` and, for Hopper's mbarriers, TMA and
wgmma, of ``yaie_hopper.cuh``), clusters, dynamic parallelism, textures, CUB, CUTLASS, CUDA graphs or concurrent
streams; a file that uses them raises :class:`UnsupportedError`. Order between threads is that of barriers (of the
block, named ones, mbarriers), and of fences with flags (an atomic or volatile store after a ``__threadfence()``, which
another thread reads); blocks run one after another, so one that waits for a later one never ends. What TMA and wgmma
do lands at the wait for it. It models neither caches nor time (what an estimate needs of both is in ``estimate.py``),
and of registers only what ``setmaxnreg`` moves; what a thread does to registers that a wgmma holds is seen by g++ and
clang++ 20, and in part by older clang++.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from .cache import extension_directory
from .card.build import Cubin, KernelUsage, compile_cubin
from .card.nvcc import find_nvcc
from .card.prebuilt import find_prebuilt
from .compiler import CompileError, UnsupportedError, as_compile_errors
from .emulated.build import build_for_emulator, build_runtime, find_compiler
from .emulated.library import Options
from .estimate import Estimate, NotTried
from .findings import Finding, KernelError
from .module import Module
from .profile import LaunchProfile, LineProfile, Profile, TensorProfile, TraceStep
from .source import read_source

__all__ = [
    "CompileError",
    "Cubin",
    "Estimate",
    "Finding",
    "KernelError",
    "KernelUsage",
    "LaunchProfile",
    "LineProfile",
    "Module",
    "NotTried",
    "Profile",
    "TensorProfile",
    "TraceStep",
    "UnsupportedError",
    "compile_cubin",
    "extension_directory",
    "find_compiler",
    "find_nvcc",
    "find_prebuilt",
    "load",
    "prepare",
]

BACKENDS = ("auto", "cuda", "emulator")


def load(
    path_or_source: str | os.PathLike,
    *,
    path: str | os.PathLike | None = None,
    backend: str = "auto",
    check: bool | None = None,
    time_limit: float = 20.0,
    compiler: str | None = None,
    flags: Sequence[str] = (),
    workers: int = 0,
    event_budget: float = 4e7,
) -> Module:
    """Compiles a ``.cu`` file, or CUDA C++ text, and returns its launchers.

    ``path`` says for which file the text stands: messages name it, and local headers are looked for beside it.
    ``backend="auto"`` takes the GPU if there is one, else the emulator. The rest is for the emulator:
    ``check`` chooses check mode (the default) or fast mode; ``time_limit`` is the seconds after which a call
    is stopped; ``compiler`` a C++ compiler (default: g++, else clang++, or ``$YAIE_CXX``); ``flags`` extra
    compiler options; ``workers`` the threads of fast mode (0: one per core); ``event_budget`` how many memory
    accesses of one launch are checked for races and counted. Beyond it, pairs of neighbouring blocks are
    sampled and the others are checked for bounds only.

    Raises :class:`CompileError` with the file's own line, :class:`UnsupportedError` for what the emulator
    does not have, ``FileNotFoundError``, and ``ValueError`` for an unknown backend.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, not {backend!r}")
    with as_compile_errors():
        source = read_source(path_or_source, path)
    if backend == "auto":
        import torch

        backend = "cuda" if torch.cuda.is_available() else "emulator"
    options = Options(compiler, tuple(flags), time_limit, workers, event_budget)
    return Module(source, backend, backend == "emulator" and check is not False, options)


def prepare(texts: Sequence[tuple[str, str | os.PathLike]] = (), flags: Sequence[str] = ()) -> None:
    """Builds the emulator's runtime if it is not there yet, and texts for check mode, as many at a time as there
    are cores; a later :func:`load` of the same then takes no time.

    ``texts`` are pairs of a text and the path of the file that it stands for, ``flags`` extra compiler options. What
    does not compile is left for :func:`load` to report.
    """
    compiler = find_compiler()
    build_runtime(compiler)

    def build(text: str, path: str | os.PathLike) -> None:
        with suppress(CompileError):
            build_for_emulator(read_source(text, path), compiler, True, flags)

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        list(pool.map(lambda pair: build(*pair), texts))
