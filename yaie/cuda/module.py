"""Calls launchers: checks the arguments, hands tensors over, and turns what went wrong into exceptions."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import inspect
import json
import operator
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from . import build as builder
from .build import CompileError, Source
from .findings import CAUSES, Finding, KernelError, SourceLine, Tensors, make_findings
from .profile import Profile, make_profile
from .rewrite import Launcher, Parameter

BOUNDS, RACES, COUNTERS = 1, 2, 4

INTEGERS = {
    "int": (ctypes.c_int32, 32, True),
    "int32_t": (ctypes.c_int32, 32, True),
    "unsigned": (ctypes.c_uint32, 32, False),
    "unsigned int": (ctypes.c_uint32, 32, False),
    "uint32_t": (ctypes.c_uint32, 32, False),
    "long": (ctypes.c_int64, 64, True),
    "long long": (ctypes.c_int64, 64, True),
    "int64_t": (ctypes.c_int64, 64, True),
    "unsigned long": (ctypes.c_uint64, 64, False),
    "unsigned long long": (ctypes.c_uint64, 64, False),
    "uint64_t": (ctypes.c_uint64, 64, False),
    "size_t": (ctypes.c_uint64, 64, False),
    "short": (ctypes.c_int16, 16, True),
    "int8_t": (ctypes.c_int8, 8, True),
    "uint8_t": (ctypes.c_uint8, 8, False),
}
FLOATS = {"float": ctypes.c_float, "double": ctypes.c_double}
STREAMS = ("cudaStream_t", "CUstream")

# The dtypes that a pointer type takes; the first is the one that messages ask for.
POINTERS: dict[str, tuple[torch.dtype, ...]] = {
    **dict.fromkeys(["float", "float2", "float3", "float4"], (torch.float32,)),
    **dict.fromkeys(["double", "double2"], (torch.float64,)),
    **dict.fromkeys(["half", "__half", "half2", "__half2"], (torch.float16,)),
    **dict.fromkeys(["__nv_bfloat16", "nv_bfloat16", "__nv_bfloat162", "nv_bfloat162"], (torch.bfloat16,)),
    **dict.fromkeys(["int", "int32_t", "int2", "int3", "int4"], (torch.int32,)),
    **dict.fromkeys(["unsigned", "unsigned int", "uint32_t", "uint2", "uint4"], (torch.uint32, torch.int32)),
    **dict.fromkeys(["long", "long long", "int64_t", "longlong2"], (torch.int64,)),
    **dict.fromkeys(["unsigned long", "unsigned long long", "uint64_t", "size_t"], (torch.uint64, torch.int64)),
    **dict.fromkeys(["short", "int16_t"], (torch.int16,)),
    **dict.fromkeys(["unsigned short", "uint16_t"], (torch.uint16, torch.int16)),
    **dict.fromkeys(["char", "signed char", "int8_t"], (torch.int8,)),
    **dict.fromkeys(["unsigned char", "uint8_t", "uchar4"], (torch.uint8,)),
    "bool": (torch.bool,),
    "void": (),  # any
}
VECTOR_BYTES = {"2": 2, "3": 1, "4": 4}  # alignment in elements of a vector type's pointer

call_lock = threading.RLock()  # the emulator's runtime serves one call at a time


def check_parameters(launcher: Launcher, source: Source) -> None:
    """Raises for a parameter type that Python cannot fill."""
    for p in launcher.parameters:
        known = (
            p.type in POINTERS if p.pointer else p.type in INTEGERS or p.type in FLOATS or p.type in (*STREAMS, "bool")
        )
        if not known:
            raise CompileError(
                f"{source.path.name}:{launcher.line}: launcher {launcher.name}: parameter `{p.name}` has type "
                f"{p.declared}, which Python cannot pass; use pointers to CUDA's number types, numbers or "
                "cudaStream_t",
                str(source.path),
                launcher.line,
            )


# ---- arguments


def check_tensor(where: str, p: Parameter, value: object, device: str) -> torch.Tensor | None:
    """The tensor for a pointer parameter; None stands for a null pointer."""
    if value is None:
        return None
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{where}: `{p.name}` must be a tensor ({p.declared}), got {type(value).__name__}")
    wanted = POINTERS[p.type]
    if wanted and value.dtype not in wanted:
        names = " or ".join(str(d) for d in wanted)
        raise TypeError(f"{where}: `{p.name}` is {p.declared}, so it must be {names}, got {value.dtype}")
    if value.device.type != device:
        raise ValueError(f"{where}: `{p.name}` must be on {device}, is on {value.device}")
    if not value.is_contiguous():
        raise ValueError(
            f"{where}: `{p.name}` must be contiguous, has shape {list(value.shape)} and strides "
            f"{list(value.stride())}; pass .contiguous() if the launcher only reads it"
        )
    return value


def check_number(where: str, p: Parameter, value: object) -> ctypes._SimpleCData:
    """The C value of a number parameter; a value that does not fit raises instead of wrapping round."""
    if p.type == "bool":
        return ctypes.c_bool(bool(value))
    if p.type in FLOATS:
        try:
            return FLOATS[p.type](float(value))  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise TypeError(f"{where}: `{p.name}` must be a number ({p.type}), got {type(value).__name__}") from None
    kind, bits, signed = INTEGERS[p.type]
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(
            f"{where}: `{p.name}` must be an integer ({p.type}), got {type(value).__name__} {value!r}"
        ) from None
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if not low <= number <= high:
        raise ValueError(f"{where}: `{p.name}` = {number} does not fit {p.type} ({low} to {high})")
    return kind(number)


def signature_of(launcher: Launcher) -> inspect.Signature:
    parameters = [
        inspect.Parameter(
            p.name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=None if p.type in STREAMS else inspect.Parameter.empty,
        )
        for p in launcher.parameters
    ]
    first_default = next((i for i, p in enumerate(parameters) if p.default is None), len(parameters))
    parameters = [
        p.replace(default=inspect.Parameter.empty) if i < first_default else p for i, p in enumerate(parameters)
    ]
    return inspect.Signature(parameters)


# ---- the emulator


@functools.lru_cache
def runtime(compiler: str) -> ctypes.CDLL:
    """The emulator's runtime; one per process, because kernels find its functions by name."""
    library = ctypes.CDLL(str(builder.build_runtime(compiler)), mode=ctypes.RTLD_GLOBAL)
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    signatures: dict[str, tuple[object, list]] = {
        "emu_begin": (None, [*[ctypes.c_uint] * 2, *[ctypes.c_double] * 2, *[ctypes.c_uint] * 4]),
        "emu_guarded_alloc": (pointer, [ctypes.c_size_t, ctypes.c_size_t]),
        "emu_guarded_free": (ctypes.c_bool, [pointer]),
        "emu_guarded_protect": (None, [pointer]),
        "emu_register": (None, [pointer, ctypes.c_size_t, text, ctypes.c_uint, ctypes.c_bool]),
        "emu_call": (ctypes.c_bool, [pointer, ctypes.POINTER(pointer), ctypes.POINTER(ctypes.c_int)]),
        "emu_report": (text, []),
        "emu_trace": (text, []),
        "emu_output": (text, []),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


_runtime_compiler: str | None = None


def the_runtime(compiler: str) -> ctypes.CDLL:
    """The first compiler used in a process builds the runtime for all; both compilers' kernels speak the same C ABI."""
    global _runtime_compiler
    _runtime_compiler = _runtime_compiler or compiler
    return runtime(_runtime_compiler)


@dataclass
class Copy:
    """Guarded memory that stands for a stretch of one tensor storage."""

    storage: torch.UntypedStorage
    first: int  # byte offsets in the storage
    end: int
    writable: bool
    address: int = 0


class DeviceMemory:
    """Copies the call's tensors into guarded pages, and back after a call without findings.

    Tensors that share a storage share the copy too, so aliases stay aliases.
    """

    def __init__(self, library: ctypes.CDLL, align: int) -> None:
        self.library, self.align = library, align
        self.copies: list[Copy] = []
        self.tensors: list[tuple[Parameter, torch.Tensor]] = []

    def add(self, p: Parameter, tensor: torch.Tensor) -> None:
        self.tensors.append((p, tensor))
        storage = tensor.untyped_storage()
        first = tensor.storage_offset() * tensor.element_size()
        end = first + tensor.numel() * tensor.element_size()
        for copy in self.copies:
            if copy.storage.data_ptr() == storage.data_ptr():
                copy.first, copy.end = min(copy.first, first), max(copy.end, end)
                copy.writable |= not p.const
                return
        self.copies.append(Copy(storage, first, end, not p.const))

    def allocate(self) -> None:
        for copy in self.copies:
            copy.first = copy.first // self.align * self.align  # keeps each tensor's alignment within its storage
            size = copy.end - copy.first
            copy.address = self.library.emu_guarded_alloc(size, self.align) or 0
            if not copy.address:
                raise MemoryError(f"no {size} bytes for the emulator's device memory")
            ctypes.memmove(copy.address, copy.storage.data_ptr() + copy.first, size)
            if not copy.writable:
                self.library.emu_guarded_protect(copy.address)
        for p, tensor in self.tensors:
            address, bytes_ = self.address_of(tensor), tensor.numel() * tensor.element_size()
            read_only = not self._copy_of(tensor).writable
            self.library.emu_register(address, bytes_, p.name.encode(), tensor.element_size(), read_only)

    def _copy_of(self, tensor: torch.Tensor) -> Copy:
        pointer = tensor.untyped_storage().data_ptr()
        return next(c for c in self.copies if c.storage.data_ptr() == pointer)

    def address_of(self, tensor: torch.Tensor) -> int:
        copy = self._copy_of(tensor)
        return copy.address + tensor.storage_offset() * tensor.element_size() - copy.first

    def copy_back(self) -> None:
        for copy in self.copies:
            if copy.writable:
                ctypes.memmove(copy.storage.data_ptr() + copy.first, copy.address, copy.end - copy.first)

    def free(self) -> None:
        for copy in self.copies:
            if copy.address:
                self.library.emu_guarded_free(copy.address)


@dataclass(frozen=True)
class Options:
    compiler: str | None = None
    flags: tuple[str, ...] = ()
    time_limit: float = 20.0
    workers: int = 0
    event_budget: float = 4e7


class EmulatorLibrary:
    """One build of a file for the emulator, in check mode or in fast mode."""

    def __init__(self, source: Source, check: bool, options: Options) -> None:
        compiler = builder.find_compiler(options.compiler)
        self.runtime = the_runtime(compiler)  # first, so that its symbols are there when the kernel is loaded
        built = builder.build_for_emulator(source, compiler, check, options.flags)
        self.source, self.check, self.options = source, check, options
        self.launchers = built.launchers
        self.path = built.library
        self.library = ctypes.CDLL(str(built.library))
        self.report: dict = {}
        self.trace_block, self.trace_warp = (0, 0, 0), 0
        self._places: dict[int, SourceLine] = {}

    def call(
        self, launcher: Launcher, values: dict, trace_block: Sequence[int] = (0, 0, 0), trace_warp: int = 0
    ) -> None:
        checks = BOUNDS | RACES | COUNTERS if self.check else 0
        self.trace_block, self.trace_warp = trace_block, trace_warp
        with call_lock:
            o = self.options
            self.runtime.emu_begin(checks, o.workers, o.time_limit, o.event_budget, *trace_block, trace_warp)
            memory = DeviceMemory(self.runtime, 256 if self.check else 16)
            try:
                self._run(launcher, values, memory)
            finally:
                memory.free()

    def _run(self, launcher: Launcher, values: dict, memory: DeviceMemory) -> None:
        where = launcher.name
        tensors: dict[str, torch.Tensor | None] = {}
        for p in launcher.parameters:
            if p.pointer:
                tensors[p.name] = tensor = check_tensor(where, p, values[p.name], "cpu")
                if tensor is not None:
                    memory.add(p, tensor)
        numbers = {p.name: self._number(where, p, values[p.name]) for p in launcher.parameters if not p.pointer}
        memory.allocate()
        cells = []
        for p in launcher.parameters:
            tensor = tensors.get(p.name)
            cells.append(
                ctypes.c_void_p(memory.address_of(tensor) if tensor is not None else None)
                if p.pointer
                else numbers[p.name]
            )
        error = self._call_launcher(launcher, cells)
        self.report = json.loads(self.runtime.emu_report())
        shapes = {name: tuple(t.shape) for name, t in tensors.items() if t is not None}
        self._raise_findings(launcher, error, shapes)
        memory.copy_back()

    def _number(self, where: str, p: Parameter, value: object) -> ctypes._SimpleCData:
        return ctypes.c_void_p(None) if p.type in STREAMS else check_number(where, p, value)

    def _call_launcher(self, launcher: Launcher, cells: Sequence) -> int:
        arguments = (ctypes.c_void_p * max(1, len(cells)))(*(ctypes.addressof(c) for c in cells))
        wrapper = ctypes.cast(getattr(self.library, f"emu_call_{launcher.name}"), ctypes.c_void_p)
        error = ctypes.c_int(0)
        try:
            self.runtime.emu_call(wrapper, arguments, ctypes.byref(error))
        finally:
            sys.stdout.write(self.runtime.emu_output().decode(errors="replace"))
        return error.value

    def _raise_findings(self, launcher: Launcher, error: int, shapes: dict) -> None:
        raw = self.report["findings"]
        if raw:
            pcs = {p["pc"] for f in raw for p in (f["place"], f["other"]) if p} | {s[0] for s in self.report["samples"]}
            found = make_findings(self.report, self.places(pcs), self.sources(), Tensors(shapes))
            raise KernelError(
                found if self.check else found[:1], "" if self.check else "(fast mode: check mode says more)"
            )
        if error:
            raise KernelError([launch_error(launcher, error, f"error {error}", self.source)])

    # ---- source lines

    def sources(self) -> dict[str, list[str]]:
        own = self.source.lines()
        files = {p.file for p in self._places.values()} - own.keys()
        return {f: Path(f).read_text().splitlines() for f in files if Path(f).is_file()} | own

    def places(self, pcs: set[int]) -> dict[int, SourceLine]:
        """The learner's line for each instruction: the innermost inlined frame that is not in a header of ours."""
        new = sorted(pc for pc in pcs if pc and pc not in self._places)
        if new:
            command = ["addr2line", "-i", "-a", "-e", str(self.path), *(hex(pc) for pc in new)]
            self._read_places(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        return self._places

    def _read_places(self, text: str) -> None:
        pc = 0
        for line in text.splitlines():
            if line.startswith("0x"):
                pc = int(line, 16)
            elif (match := re.match(r"(.*):(\d+)", line)) and pc not in self._places:
                file, number = match[1], int(match[2])
                internal = file.startswith(str(builder.HERE)) or file.startswith("/usr/") or file == "??"
                if number and not internal:
                    self._places[pc] = SourceLine(file, number)

    def profile(self) -> Profile:
        trace = json.loads(self.runtime.emu_trace())
        pcs = {c["pc"] for c in self.report["counters"]} | {row[1] for row in trace}
        return make_profile(self.report, trace, self.places(pcs), self.sources(), self.trace_block, self.trace_warp)


def launch_error(launcher: Launcher, error: int, name: str, source: Source) -> Finding:
    text = f"{launcher.name} ({source.path.name}:{launcher.line}) returned {name}"
    zero = (0, 0, 0)
    return Finding(
        "launch_error", launcher.name, str(source.path), launcher.line, zero, zero, text, CAUSES["launch_error"]
    )


# ---- a card


class CardLibrary:
    """A build by nvcc for the present card."""

    def __init__(self, source: Source, options: Options) -> None:
        built = builder.build_for_card(source, options.flags)
        self.source, self.launchers, self.path = source, built.launchers, built.library
        self.library = ctypes.CDLL(str(built.library))

    def caller(self, launcher: Launcher) -> Callable[[Sequence], None]:
        """A function that takes the values of all parameters, in order, and launches.

        A step of the engine has hundreds of launches, so what can be decided once is decided here, and a value that
        is right is seen to be so with few calls. What is not goes to `check_tensor` or `check_number`, which say why.
        """
        function = getattr(self.library, launcher.name)
        function.restype = None if launcher.returns == "void" else ctypes.c_int
        function.argtypes = [_c_type(p) for p in launcher.parameters]
        plan = [(p, p.pointer, p.type in STREAMS, _limits(p)) for p in launcher.parameters]

        def launch(values: Sequence) -> None:
            arguments: list = []
            device, stream_at, stream = None, None, None
            for (p, is_pointer, is_stream, limits), value in zip(plan, values, strict=True):
                if is_pointer:
                    if value is None:
                        arguments.append(None)
                        continue
                    if not _fits(value, limits):
                        check_tensor(launcher.name, p, value, self.device_type)
                    if device is None:
                        device = value.device
                    elif value.device != device:
                        raise ValueError(
                            f"{launcher.name}: `{p.name}` is on {value.device}, the tensors before it on {device}"
                        )
                    arguments.append(value.data_ptr())
                elif is_stream:
                    stream_at, stream = len(arguments), value
                    arguments.append(None)
                elif type(value) is int and limits and limits[0] <= value <= limits[1]:
                    arguments.append(value)
                else:
                    arguments.append(check_number(launcher.name, p, value).value)
            with self._on(device):
                if stream_at is not None:
                    arguments[stream_at] = self._stream(stream)
                error = function(*arguments)
            if error:
                raise KernelError([launch_error(launcher, error, self._error_name(error), self.source)])

        return launch

    device_type = "cuda"

    @staticmethod
    def _on(device: torch.device | None) -> contextlib.AbstractContextManager:
        """Makes a device the current one; to ask whether it is costs less than to change it."""
        if device is None or device.index == torch.cuda.current_device():
            return contextlib.nullcontext()
        return torch.cuda.device(device)

    @staticmethod
    def _stream(value: object) -> int:
        stream = torch.cuda.current_stream() if value is None else value
        return stream.cuda_stream if isinstance(stream, torch.cuda.Stream) else int(stream)  # type: ignore[call-overload]

    @staticmethod
    def _error_name(error: int) -> str:
        return f"CUDA error {error} ({torch.cuda.cudart().cudaGetErrorString(torch.cuda.cudart().cudaError(error))})"


def _c_type(p: Parameter) -> type:
    if p.pointer or p.type in STREAMS:
        return ctypes.c_void_p
    if p.type == "bool":
        return ctypes.c_bool
    return FLOATS[p.type] if p.type in FLOATS else INTEGERS[p.type][0]


def _limits(p: Parameter) -> tuple:
    """The dtypes that a pointer takes, or the smallest and the largest integer; empty if any, or for other numbers."""
    if p.pointer:
        return POINTERS[p.type]
    if p.type not in INTEGERS:
        return ()
    _, bits, signed = INTEGERS[p.type]
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)


def _fits(value: object, dtypes: tuple[torch.dtype, ...]) -> bool:
    """Whether a value is surely a tensor that a card's launcher can take."""
    return (
        isinstance(value, torch.Tensor)
        and value.is_cuda
        and (not dtypes or value.dtype in dtypes)
        and value.is_contiguous()
    )


# ---- what load() returns


class Module:
    """The launchers of one ``.cu`` file, one Python function each: ``module.name(tensor, ..., number, ...,
    stream=None)``.

    ``backend`` is "emulator" or "cuda", ``check`` whether calls run in check mode, ``launchers`` the names,
    ``last_report`` how much of the last call was checked.
    """

    def __init__(self, source: Source, backend: str, check: bool, options: Options) -> None:
        self.source, self.backend, self.check, self._options = source, backend, check, options
        self._libraries: dict[bool, EmulatorLibrary] = {}
        self._card = CardLibrary(source, options) if backend == "cuda" else None
        self._last: EmulatorLibrary | None = None
        launchers = self._card.launchers if self._card else self._emulator(check).launchers
        if not launchers:
            raise CompileError(
                f'{source.path.name} defines no launcher: write extern "C" int name(...) {{ kernel<<<...>>>(...); }}'
            )
        self.launchers: dict[str, Launcher] = {f.name: f for f in launchers}
        for launcher in launchers:
            check_parameters(launcher, source)
            if hasattr(type(self), launcher.name):
                raise CompileError(f"{source.path.name}:{launcher.line}: a launcher may not be called {launcher.name}")
            setattr(self, launcher.name, self._function(launcher))

    def _emulator(self, check: bool) -> EmulatorLibrary:
        if check not in self._libraries:
            self._libraries[check] = EmulatorLibrary(self.source, check, self._options)
        return self._libraries[check]

    def _function(self, launcher: Launcher) -> Callable[..., None]:
        signature = signature_of(launcher)
        launch: Callable[[Sequence], None] | None = None

        def call(*args, **kwargs) -> None:
            nonlocal launch
            if self._card is None:
                self._call(launcher, _bind(launcher, signature, args, kwargs))
                return
            launch = launch or self._card.caller(launcher)
            missing = len(launcher.parameters) - len(args)
            if missing == 1 and not kwargs and launcher.parameters[-1].type in STREAMS:
                args = (*args, None)
            elif missing or kwargs:
                args = tuple(_bind(launcher, signature, args, kwargs).values())
            launch(args)

        call.__name__ = call.__qualname__ = launcher.name
        call.__signature__ = signature  # type: ignore[attr-defined]
        call.module = self  # type: ignore[attr-defined]
        call.__doc__ = f"{launcher.name}({', '.join(f'{p.declared} {p.name}' for p in launcher.parameters)})"
        return call

    def _call(self, launcher: Launcher, values: dict) -> None:
        self._last = self._emulator(self.check)
        self._last.call(launcher, values)

    def profile(
        self, launcher: str | None = None, *args, block: Sequence[int] = (0, 0, 0), warp: int = 0, **kwargs
    ) -> Profile:
        """How the kernel touched memory, per source line.

        Without arguments: the last call in check mode (its trace is that of block 0, warp 0). With a
        launcher's name and its arguments: runs it in check mode and traces ``warp`` of ``block``.
        """
        if self._card:
            raise RuntimeError("profile() counts in the emulator: load(path, backend='emulator') and pass CPU tensors")
        if launcher is None:
            if self._last is None or not self._last.check:
                raise RuntimeError("profile() needs a call in check mode before it, or a launcher's name and arguments")
            return self._last.profile()
        if launcher not in self.launchers:
            raise AttributeError(
                f"{self.source.path.name} has no launcher {launcher}; it has {', '.join(self.launchers)}"
            )
        chosen = self.launchers[launcher]
        values = _bind(chosen, signature_of(chosen), args, kwargs)
        self._last = self._emulator(True)
        self._last.call(chosen, values, tuple(block), warp)
        return self._last.profile()

    @property
    def last_report(self) -> dict:
        """``blocks`` run and ``deep_blocks`` fully checked in the last call (a sample, if a launch is large)."""
        report = self._last.report if self._last else {}
        return {name: report.get(name, 0) for name in ("blocks", "deep_blocks")}

    def __repr__(self) -> str:
        return f"<yaie.cuda.Module {self.source.path.name} on {self.backend}: {', '.join(self.launchers)}>"


def _bind(launcher: Launcher, signature: inspect.Signature, args: tuple, kwargs: dict) -> dict:
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{launcher.name}{signature}: {error}") from None
    bound.apply_defaults()
    return {p.name: bound.arguments.get(p.name) for p in launcher.parameters}
