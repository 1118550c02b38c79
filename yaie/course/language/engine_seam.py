"""Where the course reaches into the engine's kernels. Nothing else of the course knows how they are looked up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

import yaie.cuda
from yaie.course import REPOSITORY
from yaie.course.language.base import Swap
from yaie.kernels import native
from yaie.kernels.native import paged_attention

CSRC = REPOSITORY / "csrc"


def module(name: str, backend: str = "emulator", check: bool = True) -> yaie.cuda.Module:
    """The launchers of `csrc/<name>` with the functions in it that are in place; what checks call.

    backend: "emulator", "cuda", or "auto": the GPU if there is one
    check: with the emulator, look for races, overruns and the like
    """
    if backend == "auto":
        backend = "cuda" if torch.cuda.is_available() else "emulator"
    return native.module(name, backend, check=check and backend == "emulator")


def sources() -> Mapping[str, str]:
    """The texts that are compiled now instead of the files' own, by their paths under `csrc/`."""
    return native.replaced


def add_source(swap: Swap, name: str, make: Callable[[str | None], str]) -> None:
    """Let the engine compile another text for `csrc/<name>` while the swap is in: `make(what it compiles else)`."""
    swap.add_made(native.replaced, name, make)


def add_rungs(swap: Swap, rungs: Mapping[str, int]) -> None:
    """Let the engine take these rungs of its ladders while the swap is in."""
    if "paged_decode" in rungs:
        swap.add(paged_attention, "rung", rungs["paged_decode"])


def use_readable_twins(swap: Swap) -> None:
    """Have the engine call the functions of `yaie.kernels`, where PyTorch has faster ones, while the swap is in.

    Today the engine notices by itself that one of them has been replaced.
    """


def in_place(operations: Any) -> Any:
    """The operations that an engine takes now instead of those that it was made with."""
    return operations


def limit_calls(seconds: float) -> None:
    """Have the emulator stop a call after so many seconds: an endless loop is to be named in time."""
    native.time_limit = seconds


def prepare(texts: Iterable[tuple[str, str]] = ()) -> None:
    """Build the emulator, and texts for paths under `csrc/` as `module` will ask for them.

    Raises `yaie.cuda.CompileError` without a compiler.
    """
    yaie.cuda.prepare([(text, CSRC / name) for name, text in texts], native.CHECK_FLAGS)


@contextmanager
def looked_up(operations: Any, saw: Callable[[str, bool], None]) -> Iterator[None]:
    """Tell of each kernel file that the operations look up: its path under `csrc/`, and whether a learner's function is
    in it."""
    load = native._load

    def watching_load(name: str, backend: str, check: bool, text: str | None, limit: float) -> Any:
        saw(name, text is not None)
        return load(name, backend, check, text, limit)

    native._load = watching_load
    try:
        yield
    finally:
        native._load = load


def backend_of(operations: Any) -> str:
    """The name of the backend of an engine's operations."""
    return operations.backend
