"""Where the course reaches into the engine's kernels. Nothing else of the course knows how they are looked up."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Container, Iterable, Mapping
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch

import yaie.cuda
from yaie.course.language import cuda_text
from yaie.course.language.base import Swap
from yaie.cuda.arguments import signature_of
from yaie.cuda.card import build as nvcc_build
from yaie.cuda.emulated import build as gxx_build
from yaie.cuda.emulated.library import EmulatorLibrary
from yaie.cuda.source import digest, quoted
from yaie.kernels import ops
from yaie.kernels.ops.launching import load

CSRC = ops.CSRC
_sources: dict[str, str] = {}  # by path under csrc/: the texts that are compiled now
_rungs: dict[str, int] = {}  # those that run a learner's part
_limit = 20.0
_prepared: set[str] = set()  # of texts that were built: each check that fails asks for those of all mistakes again

# What is compiled for the emulator's check mode, by how a path under csrc/ starts; elsewhere all. A learner waits for
# the compiler, and these element types (csrc/common.cuh) are the ones that checks ask for.
FLOAT32, FLOAT16 = "-DYAIE_DTYPES=1", "-DYAIE_DTYPES=2"
UP_TO_64, UP_TO_128 = "-DYAIE_MAX_HEAD_DIM=64", "-DYAIE_MAX_HEAD_DIM=128"
QUICK = {
    # Tensor cores do not take float32.
    **{f"flash_attention/flash_attention_{rung}": (FLOAT16, UP_TO_128) for rung in (4, 5)},
    "flash_attention/flash_attention_6": (FLOAT16, UP_TO_64),
    "flash_attention/": (FLOAT32, UP_TO_128),
    "paged_attention/": (FLOAT32, UP_TO_128),
    "model_ops/": ("-DYAIE_DTYPES=3",),  # float32, and float16 where results are rounded
}


def module(name: str, backend: str = "emulator", check: bool = True, more: Path | None = None) -> yaie.cuda.Module:
    """The launchers of `csrc/<name>` with the functions in it that are in place; what checks call.

    backend: "emulator", "cuda", or "auto": the GPU if there is one
    check: with the emulator, look for races, overruns and the like; see `QUICK` for what is compiled then
    more: a check's own launchers, which call a function by itself: see `with_launchers`
    """
    if backend == "auto":
        backend = "cuda" if torch.cuda.is_available() else "emulator"
    check = check and backend == "emulator"
    text = _sources.get(name)
    if more:
        text = with_launchers(text or (CSRC / name).read_text(encoding="utf-8"), more)
    return load(name, backend, text, check, _limit, _quick_flags(name) if check else ())


def with_launchers(text: str, more: Path) -> str:
    """A file of `csrc/` with the launchers of a check instead of its own, of which those stay that the check's name.

    What is a template only for the launchers that are left out is not compiled: that is most of the compiler's work.
    """
    launchers = more.read_text(encoding="utf-8")
    return f"{cuda_text.without_launchers(text, launchers)}\n#line 1 {quoted(more)}\n{launchers}"


def _quick_flags(name: str) -> tuple[str, ...]:
    return next((flags for start, flags in QUICK.items() if name.startswith(start)), ())


def sources() -> dict[str, str]:
    """The texts that are compiled now instead of the files' own, by their paths under `csrc/`; a `Swap` adds them."""
    return _sources


def ladders() -> Mapping[str, Mapping[int, tuple[str, str]]]:
    """What stands behind each rung of the operations that have several: a file under csrc/, and a launcher in it."""
    return next((ops.operations(backend).known_rungs for backend in _backends()), {})


def rungs_that_call(methods: Container[str]) -> dict[str, int]:
    """The rung of each ladder that runs one of these functions, such as "Kernels.reshape_and_cache": it has a launcher
    of that name."""
    return {
        name: rung
        for name, ladder in ladders().items()
        for rung, (_, launcher) in ladder.items()
        if f"Kernels.{launcher}" in methods
    }


def _backends() -> list[str]:
    """Those in which kernels can run here."""
    return [backend for backend in ("cuda", "emulator") if ops.obstacle(backend) is None]


def add_rungs(swap: Swap, rungs: Mapping[str, int]) -> None:
    """Let the engine take these rungs of its ladders, and all texts added so far, while the swap is in."""
    for name, rung in rungs.items():
        swap.add_made(_rungs, name, lambda old, new=rung: max(old or 0, new))
    for backend in _backends():
        make = partial(_kernels, backend)
        swap.add_made(ops.shared, backend, lambda _, make=make: make(tuple(_sources.items()), tuple(_rungs.items())))


@cache
def _kernels(backend: str, sources: tuple, rungs: tuple) -> Any:
    return ops.KernelOperations(backend, sources=dict(sources), rungs=dict(rungs), strict=False)


def use_readable_twins(swap: Swap) -> None:
    """Have the engine call the functions of `yaie.kernels`, where PyTorch has faster ones, while the swap is in."""
    slowest = {name: min(rungs) for name, rungs in ops.operations("torch").known_rungs.items()}
    slowest["shared_pages"] = 2  # the plain way asks nobody what is read once
    swap.add(ops.shared, "torch", ops.TorchOperations(rungs=slowest))


def in_place(operations: Any) -> Any:
    """The operations that an engine takes now instead of those that it was made with."""
    return ops.operations(operations.name)


def limit_calls(seconds: float) -> None:
    """Have the emulator stop a call after so many seconds: an endless loop is to be named in time."""
    global _limit
    _limit = seconds


def watch_calls(saw: Callable[[str, dict[str, Any]], None]) -> None:
    """Tell of each call of a launcher in the emulator, before it: the launcher's name, and its arguments by name."""
    call = EmulatorLibrary.call

    def watched(self: EmulatorLibrary, launcher: Any, args: tuple, kwargs: dict, *rest: Any) -> None:
        with suppress(TypeError):  # the call itself will say what is wrong with its arguments
            saw(launcher.name, dict(signature_of(launcher).bind(*args, **kwargs).arguments))
        call(self, launcher, args, kwargs, *rest)

    EmulatorLibrary.call = watched


def mark_compiling(mark: Path) -> None:
    """Have a file be there, whose name begins as the mark's, for each compiler that runs, g++ or nvcc."""

    def marked(run: Callable, *args: Any) -> Any:
        with tempfile.NamedTemporaryFile(prefix=mark.name, dir=mark.parent):
            return run(*args)

    for build in (gxx_build, nvcc_build):
        build.run = partial(marked, build.run)


def get_ready() -> None:
    """Look up what every check of a kernel needs, so that forked processes have it. Nothing is compiled or loaded."""
    ladders()
    gxx_build.headers_digest(), gxx_build.rewriting_digest()
    with suppress(yaie.cuda.CompileError):  # without a compiler the check says so
        gxx_build.compiler_version(gxx_build.find_compiler())


def prepare(texts: Iterable[tuple[str, str]] = ()) -> None:
    """Build the emulator, and texts for paths under `csrc/` as `module` will ask for them.

    Raises `yaie.cuda.CompileError` without a compiler.
    """
    new = {key: pair for pair in texts if (key := digest(*pair)) not in _prepared}
    pairs: dict[tuple[str, ...], list[tuple[str, Path]]] = {}
    for name, text in new.values():
        pairs.setdefault(_quick_flags(name), []).append((text, CSRC / name))
    for flags, some in (pairs or {(): []}).items():
        yaie.cuda.prepare(some, flags)
    _prepared.update(new)


def looked_up(operations: Any, saw: Callable[[str, bool], None]) -> Swap:
    """While it is in, tell of each kernel file that the operations look up: its path under `csrc/`, and whether a
    learner's function is in it."""
    swap, launch = Swap(), getattr(operations, "launch", None)

    class Seen:
        def __getitem__(self, launcher: tuple[str, str]) -> Callable:
            saw(launcher[0], launcher[0] in operations.sources)
            return launch[launcher]

    if launch is not None:  # torch's have none
        swap.add(operations, "launch", Seen())
    return swap
