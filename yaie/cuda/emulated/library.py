"""Calls launchers in the emulator: hands tensors over, and turns what went wrong into exceptions."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import json
import re
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from ..arguments import Rules
from ..compiler import CompileError, is_internal, own_files, run
from ..findings import (
    KernelError,
    SourceLine,
    Tensors,
    error_ignored,
    launch_error,
    make_findings,
    pcs_of,
    unset_variable,
)
from ..launchers import STREAMS, Launcher, Parameter
from ..profile import Profile, make_profile
from ..source import Source, read_text
from .build import build_for_emulator, build_runtime, find_compiler
from .unset import Unset

BOUNDS, RACES, COUNTERS, SAMPLE = 1, 2, 4, 8  # checks of `emu_begin`, as in runtime.h
NEARBY = [*range(1, 33), *range(-1, -33, -1)]  # bytes of a module's code
POISON, OTHER_POISON = 0xFF, 0x55  # bytes of what is undefined: NaN or -1, and large numbers

call_lock = threading.RLock()  # the emulator's runtime serves one call at a time


@dataclass
class Sample:
    """Calls of which a few blocks run. `launches`: what each launch counted, as the runtime reports it."""

    event_budget: float
    time_limit: float
    launches: list[dict] = field(default_factory=list)


sampling: ContextVar[Sample | None] = ContextVar("sampling", default=None)


@contextlib.contextmanager
def sampled(event_budget: float = 1e6, time_limit: float = 600.0) -> Iterator[Sample]:
    """Within it, calls of launchers count and do not compute: of each launch a few blocks run, spread over the grid and
    eight at least, until `event_budget` accesses are counted. Their results are thrown away."""
    sample = Sample(event_budget, time_limit)
    token = sampling.set(sample)
    try:
        yield sample
    finally:
        sampling.reset(token)


@functools.lru_cache
def runtime(compiler: str) -> ctypes.CDLL:
    """The emulator's runtime; one per process, because kernels find its functions by name."""
    library = ctypes.CDLL(str(build_runtime(compiler)), mode=ctypes.RTLD_GLOBAL)
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    signatures: dict[str, tuple[object, list]] = {
        "emu_begin": (None, [*[ctypes.c_uint] * 2, *[ctypes.c_double] * 2, *[ctypes.c_uint] * 4, ctypes.c_int]),
        "emu_guarded_alloc": (pointer, [ctypes.c_size_t, ctypes.c_size_t]),
        "emu_guarded_free": (ctypes.c_bool, [pointer]),
        "emu_guarded_protect": (None, [pointer]),
        "emu_register": (None, [pointer, ctypes.c_size_t, text, ctypes.c_uint, ctypes.c_bool]),
        "emu_call": (ctypes.c_bool, [pointer, ctypes.POINTER(pointer), ctypes.POINTER(ctypes.c_int)]),
        "emu_rewind": (None, []),
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
        self.register()

    def register(self) -> None:
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

    def contents(self) -> list[bytes]:
        return [ctypes.string_at(copy.address, copy.end - copy.first) for copy in self.copies if copy.writable]

    def put(self, contents: Sequence[bytes]) -> None:
        for copy, content in zip((c for c in self.copies if c.writable), contents, strict=True):
            ctypes.memmove(copy.address, content, len(content))

    def fill_again(self) -> None:
        for copy in self.copies:
            if copy.writable:
                ctypes.memmove(copy.address, copy.storage.data_ptr() + copy.first, copy.end - copy.first)

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
    """See `yaie.cuda.load`; only `flags` are for a card as well."""

    compiler: str | None = None
    flags: tuple[str, ...] = ()
    time_limit: float = 20.0
    workers: int = 0
    event_budget: float = 4e7


class EmulatorLibrary:
    """One build of a file for the emulator, in check mode or in fast mode."""

    def __init__(self, source: Source, check: bool, options: Options) -> None:
        compiler = find_compiler(options.compiler)
        self.runtime = the_runtime(compiler)  # first, so that its symbols are there when the kernel is loaded
        build = build_for_emulator(source, compiler, check, options.flags)
        self.source, self.check, self.options = source, check, options
        self.path, self.launchers, self.kernels, self.unset = build.path, build.launchers, build.kernels, build.unset
        self.rules = {launcher.name: Rules(launcher, "cpu") for launcher in build.launchers}
        self.library = ctypes.CDLL(str(self.path))
        self.report: dict = {}
        self.trace_block, self.trace_warp = (0, 0, 0), 0
        self._own = own_files(source)
        self._places: dict[int, SourceLine] = {}
        self._trace: str | None = None  # of the last call, if the runtime has made another since

    def call(
        self,
        launcher: Launcher,
        args: Sequence,
        kwargs: Mapping[str, object],
        trace_block: Sequence[int] = (0, 0, 0),
        trace_warp: int = 0,
    ) -> None:
        rules = self.rules[launcher.name]
        values = [rule.convert(value) for rule, value in zip(rules.each, rules.bind(args, kwargs), strict=True)]
        self.trace_block, self.trace_warp, self._trace = tuple(trace_block), trace_warp, None
        with call_lock:
            self._begin(POISON)
            memory = DeviceMemory(self.runtime, 256 if self.check else 16)
            try:
                self._run(launcher, values, memory)
            finally:
                memory.free()

    def _begin(self, poison: int) -> None:
        checks, limits = BOUNDS | RACES | COUNTERS if self.check else 0, sampling.get()
        if limits:
            checks = BOUNDS | COUNTERS | SAMPLE
        o, limits = self.options, limits or self.options
        traced = (*self.trace_block, self.trace_warp)
        self.runtime.emu_begin(checks, o.workers, limits.time_limit, limits.event_budget, *traced, poison)

    def _run(self, launcher: Launcher, values: Sequence, memory: DeviceMemory) -> None:
        tensors = [
            (p, value) for p, value in zip(launcher.parameters, values, strict=True) if isinstance(value, torch.Tensor)
        ]
        for p, tensor in tensors:
            memory.add(p, tensor)
        memory.allocate()
        cells = []
        for p, value in zip(launcher.parameters, values, strict=True):
            if p.pointer:
                value = ctypes.c_void_p(None if value is None else memory.address_of(value))
            elif p.type in STREAMS:
                value = ctypes.c_void_p(value)  # a name: there is one queue, which keeps order
            cells.append(value)
        error = self._call_launcher(launcher, cells)
        self.report = json.loads(self.runtime.emu_report())
        if sample := sampling.get():
            self._raise_findings(launcher, error, {p.name: tuple(tensor.shape) for p, tensor in tensors})
            sample.launches += self.report["launches"]
            return
        if self.report["suspects"] and not self.report["findings"] and self._depends_on_poison(launcher, cells, memory):
            self.report["findings"] = self.report["suspects"]
        unset = (
            self._unset_in_code_that_ran(launcher) if self.unset and not error and not self.report["findings"] else []
        )
        if unset and self._depends_on_unset(launcher, cells, memory):
            self.report["findings"] = [
                unset_variable(launcher.name, each.file, each.line, each.name, each.declared) for each in unset
            ]
        self._raise_findings(launcher, error, {p.name: tuple(tensor.shape) for p, tensor in tensors})
        memory.copy_back()

    def _depends_on_poison(self, launcher: Launcher, cells: Sequence, memory: DeviceMemory) -> bool:
        """Makes the call again with other bytes for all that is undefined, and leaves the first call's results.

        An undefined value may be shuffled in as long as nobody uses it; whether anybody does shows in the results.
        """
        first = memory.contents()
        memory.fill_again()
        self.runtime.emu_rewind()
        self._begin(OTHER_POISON)
        memory.register()
        with contextlib.redirect_stdout(io.StringIO()):
            self._call_launcher(launcher, cells)
        return bool(json.loads(self.runtime.emu_report())["findings"]) or memory.contents() != first

    def _depends_on_unset(self, launcher: Launcher, cells: Sequence, memory: DeviceMemory) -> bool:
        """Whether local variables that the compiler suspects of being used unset are: makes the call in two builds
        which begin all such variables with other bytes, and compares. Leaves this build's results.
        """
        builds = []
        for start in ("zero", "pattern"):
            flags = (*self.options.flags, f"-ftrivial-auto-var-init={start}")
            try:
                builds.append(EmulatorLibrary(self.source, False, replace(self.options, flags=flags, workers=1)))
            except CompileError:  # it has compiled without this option
                names = ", ".join(f"`{name}`" for name in dict.fromkeys(each.name for each in self.unset))
                self.report["remarks"].append(
                    f"whether {names} is used before it is set was not tried, for want of g++ 12 or clang++ 16"
                )
                return False
        trace, kept = self.trace(), memory.contents()
        results = [self._results_of(build, launcher, cells, memory) for build in builds]
        memory.put(kept)
        self._trace = trace
        return results[0] != results[1]

    def _unset_in_code_that_ran(self, launcher: Launcher) -> list[Unset]:
        """Those in kernels that ran; if there are none, those in host code."""
        ran = {x["kernel"].split("<")[0].split("::")[-1] for x in self.report["launches"]}
        if ran - self.kernels:  # launched by a pointer: what the launcher names
            ran |= {launcher.name}
        in_kernels = [each for each in self.unset if self.kernels.intersection(each.callers)]
        of_these = [each for each in in_kernels if ran.intersection(each.callers)]
        return of_these or [each for each in self.unset if each not in in_kernels]

    def _results_of(self, build: EmulatorLibrary, launcher: Launcher, cells: Sequence, memory: DeviceMemory) -> object:
        memory.fill_again()
        build._begin(POISON)
        memory.register()
        with contextlib.redirect_stdout(io.StringIO()):
            error = build._call_launcher(launcher, cells)
        return error, bool(json.loads(self.runtime.emu_report())["findings"]), memory.contents()

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
            found = make_findings(self.report, self.places(pcs_of(self.report)), self.sources(), Tensors(shapes))
            if not error and launcher.returns != "void" and any(each["kind"] == "bad_launch" for each in raw):
                found.append(error_ignored(launcher, self.source))
            note = "\n".join(self.remarks) if self.check else "(fast mode: check mode says more)"
            raise KernelError(found if self.check else found[:1], note)
        if error:
            raise KernelError([launch_error(launcher, f"error {error}", self.source)])

    # ---- source lines

    def sources(self) -> dict[str, list[str]]:
        own = self.source.lines()
        met = {p["file"] for raw in self.report["findings"] for p in (raw["place"], raw["other"]) if p}
        files = met | {p.file for place in self._places.values() for p in place.frames} - own.keys()
        return {f: read_text(Path(f)).split("\n") for f in files if Path(f).is_file()} | own

    def places(self, pcs: set[int]) -> dict[int, SourceLine]:
        """The file's own line for each instruction: the innermost inlined frame that is not in a header of ours.

        Where clang++ made one instruction of two on different lines, neither has it: the nearest line then.
        """
        new = sorted(pc for pc in pcs if pc and pc not in self._places)
        if not new:
            return self._places
        found = self._read_places(new)
        lost = [pc for pc in new if pc in found and not found[pc][1].line]
        near = self._read_places([pc + step for pc in lost for step in NEARBY])
        for pc in lost:  # its own access comes next, so the bytes after it first
            same = (near[pc + step] for step in NEARBY if near.get(pc + step, ("",))[0] == found[pc][0])
            found[pc] = next((place for place in same if place[1].line), found[pc])
        self._places |= {pc: place for pc, (_, place) in found.items() if place.line}
        return self._places

    def _read_places(self, pcs: Sequence[int]) -> dict[int, tuple[str, SourceLine]]:
        """Function and line of instructions; the line is 0 where only the file is known."""
        if not pcs:
            return {}
        found: dict[int, tuple[str, SourceLine]] = {}
        pc, function = 0, ""
        command = ["addr2line", "-f", "-i", "-a", "-e", str(self.path), *map(hex, pcs)]
        for line in run(command, self.path.parent).stdout.splitlines():
            match = re.fullmatch(r"(.*):(\d+|\?)(?: \(discriminator \d+\))?", line)
            if re.fullmatch("0x[0-9a-f]+", line):
                pc = int(line, 16)
            elif not match:
                function = line
            elif is_internal(match[1], self._own) or match[1] == "??":
                continue
            else:
                frame = SourceLine(match[1], int(match[2].replace("?", "0")))
                name, first = found.get(pc, (function, frame))
                first = first if first.line else frame
                found[pc] = name, replace(first, frames=(*first.frames, frame))
        return found

    @property
    def remarks(self) -> list[str]:
        """What the last call's findings, or their absence, do not tell: one line for each check that was off."""
        return list(self.report.get("remarks", ()))

    def trace(self) -> str:
        return self._trace if self._trace is not None else self.runtime.emu_trace().decode()

    def profile(self) -> Profile:
        trace = json.loads(self.trace())
        pcs = {c["pc"] for c in self.report["counters"]} | {row[1] for row in trace}
        return make_profile(self.report, trace, self.places(pcs), self.sources(), self.trace_block, self.trace_warp)
