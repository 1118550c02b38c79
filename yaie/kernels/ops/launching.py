"""What families of operations share: rungs, launchers of csrc/ (each file loaded when it is first needed), and the way
from a function that checks its arguments to the backend that computes."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import torch

import yaie.cuda
from yaie.cuda.machine import for_hopper, obstacle, on_hopper
from yaie.kernels import checks, ops

CSRC = Path(__file__).resolve().parents[3] / "csrc"
MAX_GRID = 65535  # blocks in its second and third direction: CUDA C++ Programming Guide, compute capabilities
DTYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}  # as in csrc/common.cuh
TIME_LIMIT = 20.0  # seconds after which the emulator stops a call: no launch of the engine takes one

Launcher = tuple[str, str]  # a file under csrc/ and the name of a launcher in it


class BackendError(RuntimeError):
    """A backend cannot compute what it was asked for here; the message says what is in the way."""


class Family:
    """What all families of operations share: the choice of a rung where an operation has several.

    RUNGS: for each such operation of a family what stands behind each number, from the plainest to the fastest: a
        `Launcher`, where that is a kernel; `known_rungs` has those of all families
    rungs: the rung of each operation; asked: those that were asked for
    """

    RUNGS: ClassVar[Mapping[str, Mapping[int, Any]]] = {}

    def __init__(self, rungs: Mapping[str, int] | None = None) -> None:
        self.asked = dict(rungs or {})
        families = type(self).__mro__
        self.known_rungs = {name: rungs for each in families for name, rungs in vars(each).get("RUNGS", {}).items()}
        for name, rung in self.asked.items():
            if not checks.is_integer(rung) or rung not in self.known_rungs.get(name, ()):
                there = ", ".join(f"{each} {sorted(rungs)}" for each, rungs in self.known_rungs.items())
                raise ValueError(f"there is no rung {rung!r} of {name!r}; there are {there}")
        self.rungs = {name: max(rungs) for name, rungs in self.known_rungs.items()} | self.asked


Backend = str | Family  # "auto", the name of a backend, or its operations


class _Launchers(dict[Launcher, Callable[..., None]]):
    def __init__(self, module: Callable[[str], Any]) -> None:
        self._module = module

    def __missing__(self, launcher: Launcher) -> Callable[..., None]:
        file, name = launcher
        return self.setdefault(launcher, getattr(self._module(file), name))


class Launching(Family):
    """Operations by the kernels of csrc/. BackendError: they cannot run on this machine.

    launch: by (file, launcher) the Python function of a launcher; compiled and looked up when first asked for
    chosen: the launcher of each operation that has several, by its rung
    STEP_FILES: the files whose kernels a step of the engine may launch
    """

    STEP_FILES: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        backend: str,  # "cuda" or "emulator"
        *,
        rungs: Mapping[str, int] | None = None,  # such as {"paged_decode": 2}; else the fastest that takes the input
        strict: bool = True,  # a rung that cannot run is an error; else the fastest below it that can takes its place
        sources: Mapping[str, str] | None = None,  # to compile instead of files, by path under csrc/
        check: bool = False,  # the emulator looks for races, overruns and the like
        time_limit: float = TIME_LIMIT,  # seconds after which the emulator stops a call
        flags: Sequence[str] = (),  # more options for the compiler
    ) -> None:
        super().__init__(rungs)
        if backend not in ("cuda", "emulator"):
            raise ValueError(f"backend: kernels run in 'cuda' or 'emulator', got {backend!r}")
        if reason := obstacle(backend):
            raise BackendError(f"backend {backend!r} cannot run here: {reason}")
        self.name, self.sources, self.check = backend, dict(sources or {}), check
        self._options = check, time_limit, tuple(flags)
        if unknown := [file for file in self.sources if not (CSRC / file).is_file()]:
            raise ValueError(f"sources are named by their path under csrc/, such as 'memory/copy_blocks.cu': {unknown}")
        self.strict = strict
        fastest = {
            name: max(rung for rung, (file, _) in rungs.items() if self.is_for_this_card(file))
            for name, rungs in self.known_rungs.items()
        }
        self.rungs = fastest | self.asked
        if not strict and backend == "cuda":  # the emulator runs all rungs
            self.rungs = {name: min(rung, fastest[name]) for name, rung in self.rungs.items()}
        self.chosen = {name: self.known_rungs[name][rung] for name, rung in self.rungs.items()}
        self.launch = _Launchers(self.module)

    def module(self, file: str) -> yaie.cuda.Module:
        """The launchers of a file ("memory/copy_blocks.cu"); with the emulator also `profile()` of the last call."""
        return load(file, self.name, self.sources.get(file), *self._options)

    def is_for_this_card(self, file: str) -> bool:
        """Whether a file of csrc/ is written for the card that computes, or for all. One for Hopper is for no other
        card; the emulator, too, runs it only where it is asked for."""
        return not for_hopper(CSRC / file) or (self.name == "cuda" and on_hopper(file))

    def prepare(self) -> None:
        """Compile what a step of the engine needs, several files at a time."""
        files = [file for family in type(self).__mro__ for file in vars(family).get("STEP_FILES", ())]
        chosen = {file for file, _ in self.chosen.values()}
        files = [file for file in files if file in chosen or self.is_for_this_card(file)]
        with ThreadPoolExecutor() as pool:
            list(pool.map(self.module, files))


def named_as_file(path: str) -> Launcher:
    """The launcher of the same name in a file, which is given by its path under csrc/ without the ending."""
    return f"{path}.cu", path.rpartition("/")[2]


@cache
def load(
    file: str,
    backend: str,
    text: str | None = None,
    check: bool = False,
    time_limit: float = TIME_LIMIT,
    flags: tuple[str, ...] = (),
) -> yaie.cuda.Module:
    """The launchers of `csrc/<file>`, or of `text` instead of it; compiled once in a process."""
    path = CSRC / file
    options = {"backend": backend, "check": check, "time_limit": time_limit, "flags": flags}
    return yaie.cuda.load(path, **options) if text is None else yaie.cuda.load(text, path=path, **options)


def dtype_code(tensor: torch.Tensor, what: str) -> int:
    """The number by which kernels know the dtype; BackendError for a dtype that `what` does not take."""
    try:
        return DTYPES[tensor.dtype]
    except KeyError:
        raise BackendError(f"{what} float32, float16 and bfloat16, not {tensor.dtype}") from None


def aligned(tensor: torch.Tensor) -> torch.Tensor:
    """Contiguous, and at an address from which 16 bytes can be read at once."""
    tensor = tensor.contiguous()
    return tensor if tensor.data_ptr() % 16 == 0 else tensor.clone()


def checked(contract: Any) -> Callable[[Callable], Callable]:
    """Adds what its namesake in `contract` (a class or a module) says about itself to what a function says."""

    def add(function: Callable) -> Callable:
        said = inspect.getdoc(getattr(contract, function.__name__)), function.__doc__
        function.__doc__ = "\n\n".join(filter(None, said))
        return function

    return add


def run(backend: Backend, operation: str, tensor: torch.Tensor, *arguments: Any) -> Any:
    """Call an operation of the backend that computes for tensors where `tensor` is."""
    return found(backend, operation, tensor)(*arguments)


def found(backend: Backend, operation: str, tensor: torch.Tensor) -> Callable:
    """What `run` calls."""
    if not isinstance(backend, str):
        known = callable(getattr(backend, operation, None))
        checks.require(known, "backend must be a name or the operations of a backend", backend)
        return getattr(backend, operation)
    name = ops.resolve(backend, tensor.is_cuda, ops.obstacle)
    kernels, by_torch = (getattr(ops.operations(each), operation) for each in (name, "torch"))

    def where_kernels_refuse(*arguments: Any) -> Any:
        try:
            return kernels(*arguments)
        except BackendError:
            return by_torch(*arguments)

    return where_kernels_refuse if backend == "auto" and name != "torch" else kernels
