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


def use_what_is_in_place(llm: Any) -> None:
    """Have an engine, which was made earlier, compute with what is in place now."""


def limit_calls(seconds: float) -> None:
    """Have the emulator stop a call after so many seconds: an endless loop is to be named in time."""
    native.time_limit = seconds


def prepare(texts: Iterable[tuple[str, str]] = ()) -> None:
    """Build the emulator, and texts for paths under `csrc/` as `module` will ask for them.

    Raises `yaie.cuda.CompileError` without a compiler.
    """
    yaie.cuda.prepare([(text, CSRC / name) for name, text in texts], native.CHECK_FLAGS)


@contextmanager
def watched(llm: Any, operations: Any, saw: Callable[[str, bool], None]) -> Iterator[None]:
    """Have an engine call `operations`, and be told of each kernel file that is looked up: (path under `csrc/`, whether
    a learner's function is in it)."""
    runner, load, before = llm.runner, native._load, llm.runner.operations

    def watching_load(name: str, backend: str, check: bool, text: str | None, limit: float) -> Any:
        saw(name, text is not None)
        return load(name, backend, check, text, limit)

    holders = [holder for holder in (runner, runner.graphs) if holder is not None]
    native._load = watching_load
    for holder in holders:
        holder.operations = operations
    try:
        yield
    finally:
        native._load = load
        for holder in holders:
            holder.operations = before


def backend_of(operations: Any) -> str:
    """The name of the backend of an engine's operations."""
    return operations.backend
