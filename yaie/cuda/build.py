"""Builds ``.cu`` files and the emulator's runtime, keyed by everything that goes into them.

Why g++ is called directly and not through ``torch.utils.cpp_extension.load``: that imports setuptools and
ninja, adds PyTorch's own headers and libraries to every build, and waits for ever on the lock file that an
interrupted build left behind. Here every build runs in a directory of its own and the result is renamed into
the cache, which is atomic: an interrupted build leaves nothing that a later one could meet, and two builds of
one file at a time do no harm.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from .lines import lines_by_file
from .rewrite import Launcher, RewriteError, Rewritten, call_wrappers, find_launchers, rewrite

HERE = Path(__file__).parent
RUNTIME = HERE / "emulator"
EMULATOR_INCLUDE = RUNTIME / "include"
CARD_INCLUDE = HERE / "include"
KEPT_BUILDS, KEPT_CUBINS, KEPT_HEADERS = 1000, 60, 6  # a precompiled header takes 23 MB
COMPILER_CANDIDATES = [
    "g++",
    "clang++",
    *(f"clang++-{n}" for n in range(22, 12, -1)),
    *(f"g++-{n}" for n in range(16, 9, -1)),
]

COMMON_FLAGS = [
    *("-x", "c++", "-std=c++17", "-fPIC", "-w", "-g1", "-gdwarf-4"),
    "-fno-strict-aliasing",  # reinterpret_cast<half2*>(&int4) is everyday CUDA
    "-fno-finite-loops",  # an endless loop must stay one, to be reported
    "-fno-math-errno",
    "-ffp-contract=fast",  # nvcc contracts a*b+c too
    "-fstack-clash-protection",  # a local array that is too large meets the guard page, not its neighbour's stack
    "-ftls-model=initial-exec",
]
FAST_FLAGS = ["-O2"]
# -O1 and no vectoriser: one access in the source stays one access, of its own size, on its own line.
CHECK_FLAGS = ["-O1", "-fsanitize=thread", "-fno-optimize-sibling-calls"]
GCC_FLAGS = ["-fno-gnu-unique", "-fmax-errors=5"]
GCC_CHECK_FLAGS = [
    *("-fno-tree-sra", "-fno-tree-vectorize", "-fno-tree-slp-vectorize", "-fno-tree-loop-distribute-patterns"),
    *("-fno-crossjumping", "-fno-thread-jumps", "-fno-ipa-icf"),  # code that serves twice stays in one place
    *("--param", "tsan-instrument-func-entry-exit=0"),
]
CLANG_FLAGS = ["-ferror-limit=5"]
CLANG_CHECK_FLAGS = [
    *("-fno-vectorize", "-fno-slp-vectorize", "-fno-unroll-loops", "-mllvm", "-tsan-instrument-func-entry-exit=0"),
    *("-mllvm", "-tsan-instrument-read-before-write=1"),
]

CARD_FLAGS = ["-std=c++17", "-lineinfo", "--extended-lambda"]
# PyTorch builds extensions without the operators of half and bfloat16; everyday CUDA has them.
TORCH_UNDO = [
    f"-U__CUDA_NO_{name}__"
    for name in ("HALF_OPERATORS", "HALF_CONVERSIONS", "BFLOAT16_CONVERSIONS", "HALF2_OPERATORS")
]


class CompileError(RuntimeError):
    """The learner's file does not compile. ``file`` and ``line`` say where, ``message`` is the compiler's own words."""

    def __init__(self, message: str, file: str | None = None, line: int | None = None, full: str = "") -> None:
        super().__init__(message)
        self.message, self.file, self.line, self.full = message, file, line, full


class UnsupportedError(CompileError):
    """The file uses something that the emulator does not have; the message names it and says where to run it."""


@dataclass(frozen=True)
class Source:
    """A ``.cu`` file, its text, and the name under which messages show it."""

    path: Path
    text: str

    def lines(self) -> dict[str, list[str]]:
        """The lines of the text, by the file that each is said to come from."""
        return lines_by_file(self.text, self.path)


@dataclass(frozen=True)
class Build:
    """A built shared library and what can be called in it."""

    library: Path
    launchers: tuple[Launcher, ...]


def cache_directory() -> Path:
    """``$YAIE_CACHE_DIR``, else the user's cache directory."""
    directory = Path(os.environ.get("YAIE_CACHE_DIR") or platformdirs.user_cache_dir("yaie"))
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@functools.lru_cache
def find_compiler(wanted: str | None = None) -> str:
    """The C++ compiler for the emulator: ``wanted``, ``$YAIE_CXX``, or the first of g++, clang++, clang++-NN found."""
    wanted = wanted or os.environ.get("YAIE_CXX")
    for name in [wanted] if wanted else COMPILER_CANDIDATES:
        if path := shutil.which(name):
            return path
    raise CompileError(
        f"no C++ compiler found: looked for {wanted or 'g++, clang++ and clang++-NN'}. "
        "Install one (Debian, Ubuntu: apt install g++; Fedora: dnf install gcc-c++; conda: conda install gxx)."
    )


@functools.lru_cache
def compiler_version(compiler: str) -> str:
    return subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]


def is_clang(compiler: str) -> bool:
    return "clang" in compiler_version(compiler)


def flags_for(compiler: str, check: bool) -> list[str]:
    clang = is_clang(compiler)
    flags = [*COMMON_FLAGS, *(CLANG_FLAGS if clang else GCC_FLAGS)]
    if clang and os.uname().machine != "x86_64":
        flags.remove("-fstack-clash-protection")
    if check:
        return [*flags, *CHECK_FLAGS, *(CLANG_CHECK_FLAGS if clang else GCC_CHECK_FLAGS)]
    return [*flags, *FAST_FLAGS]


def digest(*parts: str | bytes) -> str:
    h = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        h.update(len(data).to_bytes(8, "little") + data)
    return h.hexdigest()[:20]


@functools.lru_cache
def headers_digest() -> str:
    """Of our headers' text and place: a build names the headers' files in its line numbers, and findings rely on it."""
    files = sorted([*EMULATOR_INCLUDE.iterdir(), *CARD_INCLUDE.iterdir()])
    return digest(str(HERE), *(f.read_bytes() for f in files if f.is_file()))


def run(command: Sequence[str], directory: Path) -> subprocess.CompletedProcess:
    return subprocess.run([str(c) for c in command], cwd=directory, capture_output=True, text=True, errors="replace")


def into_cache(target: Path, make) -> Path:
    """``make(directory)`` returns a file in a fresh directory, which becomes ``target`` in one step."""
    if target.exists():
        os.utime(target)  # the newest are kept
        return target
    with tempfile.TemporaryDirectory(prefix="building-", dir=target.parent) as directory:
        os.replace(make(Path(directory)), target)
    prune(target.parent)
    return target


def prune(directory: Path) -> None:
    """Drops the oldest builds, and directories of builds that were killed."""
    for old in [*_newest_first(directory, "*.so")[KEPT_BUILDS:], *_newest_first(directory, "*.cubin")[KEPT_CUBINS:]]:
        old.unlink(missing_ok=True)
    building = _newest_first(directory, "building-*")
    killed = [d for d in building if time.time() - _changed(d) > 24 * 3600]
    for old_directory in [*_newest_first(directory, "headers-*")[KEPT_HEADERS:], *killed]:
        shutil.rmtree(old_directory, ignore_errors=True)


def _newest_first(directory: Path, pattern: str) -> list[Path]:
    return sorted(directory.glob(pattern), key=_changed, reverse=True)


def _changed(path: Path) -> float:
    """When it was last changed; now, if another process has just removed it."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()


# ---- the emulator's runtime


def build_runtime(compiler: str) -> Path:
    """The runtime, built once per compiler and version of its sources (some seconds; says so on stderr)."""
    sources = sorted(RUNTIME.glob("*.cpp"))
    content = [f.read_bytes() for f in [*sources, *sorted(RUNTIME.glob("*.h"))]]
    flags = ["-std=c++17", "-O2", "-g1", "-fPIC", "-fvisibility=hidden", "-ftls-model=initial-exec"]
    key = digest(*content, headers_digest(), compiler_version(compiler), *flags)

    def make(directory: Path) -> Path:
        print("yaie.cuda: building the emulator's runtime, once (about 10 s) ...", file=sys.stderr, flush=True)
        running = [
            subprocess.Popen(
                [compiler, *flags, "-c", str(f), "-o", f"{f.stem}.o"], cwd=directory, stderr=subprocess.PIPE, text=True
            )
            for f in sources
        ]
        errors = "".join(p.communicate()[1] for p in running)
        if any(p.returncode for p in running):
            raise CompileError(f"the emulator's runtime does not build with {compiler}:\n{errors}")
        link = [compiler, "-shared", "-o", "runtime.so", *(f"{f.stem}.o" for f in sources), "-lpthread", "-ldl"]
        result = run(link, directory)
        if result.returncode:
            raise CompileError(f"the emulator's runtime does not link with {compiler}:\n{result.stderr}")
        return directory / "runtime.so"

    return into_cache(cache_directory() / f"runtime-{key}.so", make)


# ---- a learner's file


def read_source(path_or_source: str | os.PathLike, path: str | os.PathLike | None = None) -> Source:
    """A path, or CUDA C++ text (recognised by its line breaks or braces), which is shown as ``source.cu``.

    With ``path``, the first argument is text that stands for the content of that file: messages name it, and
    local headers are looked for beside it. Lines that come from other files say so with ``#line``.
    """
    text = os.fspath(path_or_source)
    if path is not None:
        return Source(Path(path).resolve(), text)
    if "\n" in text or "{" in text:
        return Source(Path("source.cu").absolute(), text)
    path = Path(text).resolve()
    if not path.is_file():
        raise FileNotFoundError(f"no such CUDA file: {path}")
    return Source(path, path.read_text())


def rewrite_tree(source: Source) -> tuple[str, dict[str, str]]:
    """The rewritten file and its rewritten local headers, by the name that they get in the build directory."""
    headers: dict[str, str] = {}

    def header_name(path: Path) -> str:
        return f"{digest(str(path))}-{path.name}"

    def visit(path: Path, text: str) -> str:
        result: Rewritten = rewrite(text, path, header_name)
        for include in result.includes:
            name = header_name(include)
            if name not in headers:
                headers[name] = ""  # entered before the visit: headers may include each other
                headers[name] = visit(include, include.read_text())
        return result.text

    return visit(source.path, source.text), headers


def build_for_emulator(source: Source, compiler: str, check: bool, flags: Sequence[str] = ()) -> Build:
    """Compiles for g++ or clang++ with the emulator; a build whose inputs have not changed is taken from the cache."""
    try:
        launchers = tuple(find_launchers(source.text, source.path))
        text, headers = rewrite_tree(source)
    except RewriteError as error:
        raise CompileError(str(error), str(error.file), error.line) from None
    text = f'#include "yaie_emulator.h"\n{text}{call_wrappers(launchers)}'
    options = [*flags_for(compiler, check), *flags]
    key = digest(
        text,
        *(x for item in sorted(headers.items()) for x in item),
        headers_digest(),
        compiler_version(compiler),
        *options,
    )

    def make(directory: Path) -> Path:
        (directory / "kernel.cpp").write_text(text)
        for name, content in headers.items():
            (directory / name).write_text("#pragma once\n" + content if "#pragma once" not in content else content)
        include = ["-I", directory, "-I", EMULATOR_INCLUDE, "-I", CARD_INCLUDE, "-I", source.path.parent]
        compile_it = [*options, *include, "-c", "kernel.cpp", "-o", "kernel.o"]
        # Macros of ours may differ from those of the compiled header, which g++ then takes if it did not meet them.
        defined_only = all(flag.startswith("-D") for flag in flags)
        quick = precompiled_header(compiler, tuple(flags_for(compiler, check))) if defined_only else []
        result = run([compiler, *quick, *compile_it], directory)
        if quick and result.returncode and "PCH" in result.stderr:  # it could not be mapped into memory here
            result = run([compiler, *compile_it], directory)
        if result.returncode:
            raise explain_compiler(result.stderr, source)
        # A step of its own, without -fsanitize=thread: the real sanitizer must not be linked.
        result = run([compiler, "-shared", "-Wl,-Bsymbolic", "-o", "kernel.so", "kernel.o"], directory)
        if result.returncode:
            raise CompileError(f"{source.path.name} does not link:\n{result.stderr}", str(source.path))
        return directory / "kernel.so"

    target = cache_directory() / f"{source.path.stem}-{key}.so"
    return Build(into_cache(target, make), launchers)


@functools.lru_cache
def precompiled_header(compiler: str, options: tuple[str, ...]) -> list[str]:
    """The option with which g++ finds our header compiled already, which saves a third of the time; [] if it cannot.

    g++ takes "yaie_emulator.h.gch" in the place of "yaie_emulator.h" where it was made with the same options.
    """
    if is_clang(compiler):
        return []
    directory = cache_directory() / f"headers-{digest(headers_digest(), compiler_version(compiler), *options)}"
    directory.mkdir(exist_ok=True)

    def make(temporary: Path) -> Path:
        as_header = ["c++-header" if option == "c++" else option for option in options]
        header = EMULATOR_INCLUDE / "yaie_emulator.h"
        command = [compiler, *as_header, "-I", EMULATOR_INCLUDE, header, "-o", f"{header.name}.gch"]
        if run(command, temporary).returncode:
            raise CompileError(f"{compiler} does not precompile {header.name}")
        return temporary / f"{header.name}.gch"

    try:
        into_cache(directory / "yaie_emulator.h.gch", make)
    except (CompileError, OSError):
        return []
    return ["-I", str(directory)]


# ---- compiler messages

MESSAGE = re.compile(
    r"^(?P<file>[^:\n]+):(?P<line>\d+):(?:(?P<column>\d+):)?\s+(?:fatal )?error:\s+(?P<text>.*)$", re.M
)
PLACE = re.compile(r"^(?:In file included from |\s+from )?(?P<file>[^:\n]+):(?P<line>\d+)[:,]", re.M)


def explain_compiler(stderr: str, source: Source) -> CompileError:
    """The first error in the learner's words and lines; what happened inside our headers is left in ``.full``."""
    refused = re.search(r"yaie refuses: (.*)", stderr)
    match = MESSAGE.search(stderr)
    if not match:
        return CompileError(f"{source.path.name} does not compile:\n{stderr.strip()}", str(source.path), full=stderr)
    file, line = match["file"], int(match["line"])
    if _is_internal(file):  # an error inside a header of ours was caused by the learner's line that led there
        own = next((m for m in PLACE.finditer(stderr) if not _is_internal(m["file"])), None)
        file, line = (own["file"], int(own["line"])) if own else (str(source.path), None)
    text = refused[1].replace('\\"', '"').rstrip('"') if refused else _plain(match["text"])
    shown = f"{Path(file).name}:{line}: {text}" if line else f"{Path(file).name}: {text}"
    if code := _source_line(file, line, source):
        shown += f"\n    {code}"
    return (UnsupportedError if refused else CompileError)(shown, file, line, stderr)


def in_gcc_style(message: str) -> str:
    """nvcc's `file(12): error` as `file:12: error`."""
    return re.sub(r"^(\S+?)\((\d+)\): error", r"\1:\2: error", message, flags=re.M)


def _is_internal(file: str) -> bool:
    return str(HERE) in file or "/usr/" in file or "yaie-launchers" in file or "kernel.cpp" in file


def _plain(text: str) -> str:
    """A compiler's sentence without the names that the rewriter brought in."""
    text = re.sub(r"emu_(threadIdx|blockIdx|blockDim|gridDim)\(\)", r"\1", text)
    return re.sub(r"emu_arguments(#\d+)?", "the launch's argument", text)


def _source_line(file: str, line: int | None, source: Source) -> str:
    if not line:
        return ""
    path = Path(file)
    lines = source.lines().get(file) or (path.read_text().splitlines() if path.is_file() else [])
    return lines[line - 1].strip() if line <= len(lines) else ""


# ---- on a card


def local_headers(text: str, path: Path) -> list[str]:
    """The texts of the headers beside a file that it includes, and of those that these include."""
    names = re.findall(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', text, re.M)
    headers = [path.parent / name for name in names if (path.parent / name).is_file()]
    found = [(header, header.read_text()) for header in headers]
    return [each for header, content in found for each in (content, *local_headers(content, header))]


def build_for_card(source: Source, flags: Sequence[str] = ()) -> Build:
    """Builds with nvcc through ``torch.utils.cpp_extension.load``, for the architecture of the present card.

    Each build has a directory of its own, so the lock file of an interrupted one is never met.
    """
    import torch
    from torch.utils import cpp_extension

    launchers = tuple(find_launchers(source.text, source.path))
    major, minor = torch.cuda.get_device_capability()
    # Named as a flag and not in TORCH_CUDA_ARCH_LIST, which several builds at a time would take from each other.
    arch = f"{major}{minor}{'a' if major >= 9 else ''}"  # "a": wgmma and TMA exist only there
    options = [*CARD_FLAGS, *TORCH_UNDO, "-O3", f"-gencode=arch=compute_{arch},code=sm_{arch}", *flags]
    key = digest(
        source.text, *local_headers(source.text, source.path), headers_digest(), str(torch.version.cuda), *options
    )

    def make(directory: Path) -> Path:
        copy = directory / "kernel.cu"
        copy.write_text(f'#line 1 "{source.path}"\n{source.text}')
        try:
            built = cpp_extension.load(
                name=f"{source.path.stem}_{key}",
                sources=[str(copy)],
                extra_cuda_cflags=options,
                extra_include_paths=[str(CARD_INCLUDE), str(source.path.parent)],
                build_directory=str(directory),
                is_python_module=False,
            )
        except RuntimeError as error:
            raise explain_compiler(in_gcc_style(str(error)), source) from error
        return Path(built)

    return Build(into_cache(cache_directory() / f"{source.path.stem}-card-{key}.so", make), launchers)


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


def find_nvcc() -> str | None:
    """nvcc on the PATH, in $CUDA_HOME, or in /usr/local/cuda; None where there is none."""
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    return shutil.which("nvcc") or shutil.which("nvcc", path=f"{home}/bin")


def compile_cubin(
    path_or_source: str | os.PathLike,
    arch: str = "sm_90",
    flags: Sequence[str] = (),
    path: str | os.PathLike | None = None,
) -> Cubin:
    """Compiles for a card without having one, and reads registers and spills from ptxas.

    ``arch`` is ``sm_80``, ``sm_90a``, ``sm_120`` ...; ``path`` is as for :func:`load`. Warnings are errors.
    Raises :class:`CompileError` with the learner's line, or if there is no nvcc.
    """
    source = read_source(path_or_source, path)
    nvcc = find_nvcc()
    if not nvcc:
        raise CompileError("nvcc was not found; compiling for a card needs the CUDA toolkit (no GPU is needed)")
    options = ["-cubin", f"-arch={arch}", *CARD_FLAGS, "-Werror", "all-warnings", "-Xptxas", "-v", *flags]
    with tempfile.TemporaryDirectory(prefix="cubin-") as temporary:
        directory = Path(temporary)
        (directory / "kernel.cu").write_text(f'#line 1 "{source.path}"\n{source.text}')
        include = ["-I", CARD_INCLUDE, "-I", source.path.parent]
        command = [nvcc, *options, *include, "-o", "kernel.cubin", "kernel.cu"]
        result = run(command, directory)
        if result.returncode:
            raise explain_compiler(in_gcc_style(result.stderr), source)
        data = (directory / "kernel.cubin").read_bytes()
    target = cache_directory() / f"{source.path.stem}-{arch}-{digest(data)}.cubin"
    target.write_bytes(data)
    prune(target.parent)
    return Cubin(arch, target, tuple(_read_usage(result.stderr)))


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
