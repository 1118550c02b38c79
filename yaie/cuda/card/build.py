"""Builds ``.cu`` files with nvcc: for the present card, or as a cubin that only says what a kernel uses."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from ..arguments import callable_launchers, reading_digest
from ..cache import add_notes, folder, into_cache, read_notes, short_name
from ..compiler import CompileError, as_compile_errors, explain, run
from ..launchers import Launcher, as_plain, from_plain, layout_checks
from ..source import INCLUDE, Source, digest, encoded, quoted, read_source, without_system_headers
from .nvcc import FLAGS, find_nvcc

# PyTorch builds extensions without the operators of half and bfloat16; everyday CUDA has them.
TORCH_UNDO = [
    f"-U__CUDA_NO_{name}__"
    for name in ("HALF_OPERATORS", "HALF_CONVERSIONS", "BFLOAT16_CONVERSIONS", "HALF2_OPERATORS")
]


def preprocess(source: Source, flags: Sequence[str], directory: Path) -> str:
    """The file with its macros, conditionals and local headers resolved by nvcc."""
    nvcc = find_nvcc()
    if not nvcc:
        raise CompileError("nvcc was not found; compiling for a card needs the CUDA toolkit")
    (directory / "kernel.cu").write_bytes(encoded(f"#line 1 {quoted(source.path)}\n{source.text}"))
    include = ["-I", INCLUDE, "-I", source.path.parent]
    result = run([nvcc, *FLAGS, *TORCH_UNDO, *flags, *include, "-E", "kernel.cu"], directory)
    if result.returncode:
        raise explain(result.stderr, source)
    return without_system_headers(result.stdout)


def build_for_card(source: Source, flags: Sequence[str] = ()) -> tuple[Path, tuple[Launcher, ...]]:
    """Builds a library through ``torch.utils.cpp_extension.load``, for the architecture of the present card.

    Each build has a directory of its own, so the lock file of an interrupted one is never met.
    """
    from torch.utils import cpp_extension

    major, minor = torch.cuda.get_device_capability()
    # Named as a flag and not in TORCH_CUDA_ARCH_LIST, which several builds at a time would take from each other.
    arch = f"{major}{minor}{'a' if major >= 9 else ''}"  # "a": wgmma and TMA exist only there
    options = [*FLAGS, *TORCH_UNDO, "-O3", f"-gencode=arch=compute_{arch},code=sm_{arch}", *flags]
    key = digest(str(source.path), source.fingerprint(), reading_digest(), str(torch.version.cuda), *options)

    def make(directory: Path) -> Path:
        launchers = callable_launchers(source, preprocess(source, flags, directory))
        text = f"#line 1 {quoted(source.path)}\n{source.text}{layout_checks(launchers)}"
        copy = directory / "kernel.cu"
        copy.write_bytes(encoded(text))
        try:
            built = cpp_extension.load(
                name=f"{source.path.stem}_{key}",
                sources=[str(copy)],
                extra_cuda_cflags=options,
                extra_include_paths=[str(INCLUDE), str(source.path.parent)],
                build_directory=str(directory),
                is_python_module=False,
            )
        except RuntimeError as error:
            raise explain(str(error), source) from error
        add_notes(Path(built), {"launchers": as_plain(launchers)})
        return Path(built)

    path = into_cache(folder() / f"{short_name(source)}-card-{key}.so", make)
    return path, from_plain(read_notes(path)["launchers"])


@dataclass(frozen=True)
class KernelUsage:
    """What ptxas says of one kernel: registers per thread, bytes spilled, shared memory and stack in bytes."""

    kernel: str
    registers: int
    spill_stores: int
    spill_loads: int
    shared: int
    stack: int


@dataclass(frozen=True)
class Cubin:
    arch: str
    path: Path
    kernels: tuple[KernelUsage, ...]


def compile_cubin(
    path_or_source: str | os.PathLike,
    arch: str = "sm_90",
    flags: Sequence[str] = (),
    path: str | os.PathLike | None = None,
    warnings_are_errors: bool = True,
) -> Cubin:
    """Compiles for a card without having one, and reads registers and spills from ptxas.

    ``arch`` is ``sm_80``, ``sm_90a``, ``sm_120`` ...; ``path`` is as for :func:`yaie.cuda.load`. Raises
    :class:`CompileError` with the file's own line, or if there is no nvcc.
    """
    with as_compile_errors():
        source = read_source(path_or_source, path)
    nvcc = find_nvcc()
    if not nvcc:
        raise CompileError("nvcc was not found; compiling for a card needs the CUDA toolkit (no GPU is needed)")
    options = ["-cubin", f"-arch={arch}", *FLAGS, "-Xptxas", "-v", *flags]
    options += ["-Werror", "all-warnings"] * warnings_are_errors
    with tempfile.TemporaryDirectory(prefix="building-", dir=folder()) as temporary:
        directory = Path(temporary)
        (directory / "kernel.cu").write_bytes(encoded(f"#line 1 {quoted(source.path)}\n{source.text}"))
        include = ["-I", INCLUDE, "-I", source.path.parent]
        result = run([nvcc, *options, *include, "-o", "kernel.cubin", "kernel.cu"], directory)
        if result.returncode:
            raise explain(result.stderr, source)
        data = (directory / "kernel.cubin").read_bytes()
        target = folder() / f"{short_name(source)}-{arch}-{digest(data)}.cubin"
        into_cache(target, lambda _: directory / "kernel.cubin")
    return Cubin(arch, target, tuple(_read_usage(result.stderr)))


@cache
def usage(source: Source, flags: tuple[str, ...] = (), arch: str = "sm_90a") -> tuple[KernelUsage, ...]:
    """What each kernel of a file needs on a card; nothing where there is no nvcc."""
    if not find_nvcc():
        return ()
    return compile_cubin(source.text, arch, flags, source.path, warnings_are_errors=False).kernels


def registers_of(kernel: str, static_shared: int, usages: Sequence[KernelUsage]) -> int:
    """Of a thread, for a kernel as a launch names it (`k<T, N>`); 0 where it is not known.

    Which instance of a template ran is told by its shared memory alone: of those that are left, the most.
    """
    named = [each for each in usages if each.kernel.split("<")[0] == kernel.split("<")[0].split("::")[-1]]
    alike = [each for each in named if each.shared == static_shared] or named
    return max((each.registers for each in alike), default=0)


def _read_usage(ptxas: str) -> list[KernelUsage]:
    usages = []
    for part in ptxas.split("Compiling entry function '")[1:]:
        numbers = {
            name: int(n) for n, name in re.findall(r"(\d+) bytes (stack frame|spill stores|spill loads|smem)", part)
        }
        registers = re.search(r"Used (\d+) registers", part)
        usages.append(
            KernelUsage(
                _demangled(part.split("'")[0]),
                int(registers[1]) if registers else 0,
                numbers.get("spill stores", 0),
                numbers.get("spill loads", 0),
                numbers.get("smem", 0),
                numbers.get("stack frame", 0),
            )
        )
    return usages


def _demangled(name: str) -> str:
    tool = shutil.which("c++filt")
    if not tool:
        return name
    plain = subprocess.run([tool, name], capture_output=True, text=True).stdout.strip()
    return plain.split("(")[0].removeprefix("void ") or name
