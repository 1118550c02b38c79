"""What `python -m yaie.bench kernels` measures: one module here per family of `csrc/`.

A module bears the name of the family's folder and has `cases(setting)`, which gives the table of its cases. A case
makes a `Work` as often as is needed: one set of inputs, and all the ways from them to one result.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType

import torch

from yaie.kernels import ops
from yaie.profiling.costs import Cost

Call = Callable[[], torch.Tensor]


@dataclass(frozen=True)
class Setting:
    """Where the kernels run: "cuda" at real sizes, or "cpu" in the emulator at sizes that it can do in a second.

    peers: also measure other projects' kernels, where they are installed.
    """

    device: str
    peers: bool = False

    @property
    def backend(self) -> str:
        return "cuda" if self.device == "cuda" else "emulator"

    @property
    def real(self) -> bool:
        return self.device == "cuda"

    def module(self, source: str):
        """The launchers of a file of csrc/."""
        return ops.operations(self.backend).module(source)

    def operations(self, operation: str) -> dict[str, ops.KernelOperations]:
        """By the name of its launcher, each rung of an operation that this device can run."""
        kernels = ops.operations(self.backend)
        rungs = kernels.known_rungs[operation]
        if self.real:
            rungs = {rung: launcher for rung, launcher in rungs.items() if kernels.is_for_this_card(launcher[0])}
        names = {rung: each if isinstance(each, str) else each[1] for rung, each in rungs.items()}
        return {names[rung]: ops.KernelOperations(self.backend, rungs={operation: rung}) for rung in rungs}

    def rungs(self, source: str, prefix: str) -> dict[str, Callable]:
        """The launchers of one operation, which are numbered: copy_blocks_1_elements, copy_blocks_2_vectors, ..."""
        module = self.module(source)
        names = sorted(name for name in dir(module) if name.startswith(prefix))
        return {name: getattr(module, name) for name in names}

    def random(self, *shape: int, dtype: torch.dtype = torch.float32, scale: float = 1.0) -> torch.Tensor:
        return (torch.randn(shape, device=self.device, dtype=torch.float32) * scale).to(dtype)

    def permutation(self, n: int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
        return torch.randperm(n, device=self.device).to(dtype)


@dataclass(frozen=True)
class Work:
    """One set of inputs and the ways to the result.

    ours: each rung. peers: what others offer for the same. on_cpu: ways that do not use the GPU; their time is wall
    time. A call returns the tensor that it made or filled.
    wanted: what that must be, computed in the plainest way; called before anything else runs.
    clear: spoils what calls fill in place, so that one that does nothing is found out.
    of_ours, of_peers: what of a call's result is compared with `wanted`; without them the result itself. of: the same
    for one call, by its name, that cannot be compared like the others.
    """

    ours: Mapping[str, Call]
    peers: Mapping[str, Call]
    wanted: Call
    on_cpu: Mapping[str, Call] = field(default_factory=dict)
    clear: Callable[[], object] = lambda: None
    of_ours: Callable[[torch.Tensor], torch.Tensor] = lambda result: result
    of_peers: Callable[[torch.Tensor], torch.Tensor] = lambda result: result
    of: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One operation at one size.

    make: a Work with inputs of its own, from torch's current random state.
    cost: bytes and FLOPs that it must take.
    ceiling: what limits it: "copy" (reads and writes), "read", or "compute" (a bf16 matrix product).
    tolerance: relative and absolute difference allowed; 0 for operations that only move.
    launch_bound: so short that the launch counts; also timed within a CUDA graph.
    """

    title: str
    make: Callable[[], Work]
    cost: Cost
    ceiling: str = "copy"
    tolerance: float = 0.0
    launch_bound: bool = False


def families() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def family(name: str) -> ModuleType:
    return importlib.import_module(f"{__name__}.{name}")


def filled(launch: Callable, output: torch.Tensor, *arguments) -> Call:
    """A call of a launcher on fixed arguments that returns the tensor which it fills."""
    run = functools.partial(launch, *arguments)

    def call() -> torch.Tensor:
        run()
        return output

    return call


def package(name: str) -> ModuleType | None:
    """A peer's package if it can be imported: peers are never required."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None
