"""Builds ``.cu`` files and the emulator's runtime with g++ or clang++, keyed by everything that goes into them."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path

from ..arguments import callable_launchers, reading_digest
from ..cache import add_notes, folder, into_cache, read_notes, short_name
from ..compiler import CompileError, as_compile_errors, explain, run
from ..launchers import Launcher, as_plain, from_plain, layout_checks
from ..source import INCLUDE, Source, SourceError, digest, encoded, quoted, without_system_headers
from .rewrite import Rewriter, call_wrappers
from .unset import Unset, unset_variables
from .unsupported import explain_refusal

HERE = Path(__file__).parent
RUNTIME = HERE / "runtime"
EMULATOR_INCLUDE = HERE / "include"
COMPILER_CANDIDATES = [
    "g++",
    "clang++",
    *(f"clang++-{n}" for n in range(22, 12, -1)),
    *(f"g++-{n}" for n in range(16, 9, -1)),
]

COMMON_FLAGS = [
    *("-x", "c++", "-std=c++17", "-fPIC", "-g1", "-gdwarf-4"),
    "-fno-strict-aliasing",  # reinterpret_cast<half2*>(&int4) is everyday CUDA
    "-fno-finite-loops",  # an endless loop must stay one, to be reported
    "-fno-math-errno",
    "-ffp-contract=fast",  # nvcc contracts a*b+c too
    "-fstack-clash-protection",  # a local array that is too large meets the guard page, not its neighbour's stack
    "-ftls-model=initial-exec",
    "-U_FORTIFY_SOURCE",  # on by default in Ubuntu, where memcpy would be another function
    "-Wvla",
    "-fsanitize=return",  # the end of a function without its return is reported instead of running on
]
FAST_FLAGS = ["-O2"]
# -O1 and no vectoriser: one access in the source stays one access, of its own size, on its own line.
CHECK_FLAGS = ["-O1", "-fsanitize=thread", "-fno-optimize-sibling-calls", "-Wuninitialized", "-fdata-sections"]
# Where variables lie is not asked for with -g1, and finding it out took a fifth of the time: the code is the same.
GCC_FLAGS = ["-fno-gnu-unique", "-fmax-errors=5", "-fno-var-tracking"]
GCC_CHECK_FLAGS = [
    "-Wmaybe-uninitialized",
    *("-fno-tree-sra", "-fno-tree-vectorize", "-fno-tree-slp-vectorize", "-fno-tree-loop-distribute-patterns"),
    "-finline-small-functions",  # as nvcc does: g++ reports no access of a call that takes or returns a struct
    *("-fno-crossjumping", "-fno-thread-jumps", "-fno-ipa-icf"),  # code that serves twice stays in one place
    *("--param", "tsan-instrument-func-entry-exit=0", "--param", "tsan-distinguish-volatile=1"),
]
# g++ does not report these calls, so they go through the runtime.
CHECK_LINK_FLAGS = [
    *(f"-Wl,--wrap={name}" for name in ("memcpy", "memmove", "memset")),
    "-Wl,--sort-section=alignment",  # with -fdata-sections: see GUARDS in rewrite.py
]
# libstdc++ comes with the runtime, which is loaded first. Reading it took the linker 30 ms of 50.
GCC_LIBRARIES = ["-nodefaultlibs", "-lm", "-lgcc_s", "-lgcc", "-lc"]
CLANG_FLAGS = ["-ferror-limit=5"]
CLANG_CHECK_FLAGS = [
    "-Wsometimes-uninitialized",
    *("-fno-vectorize", "-fno-slp-vectorize", "-fno-unroll-loops", "-mllvm", "-tsan-instrument-func-entry-exit=0"),
    *("-mllvm", "-tsan-instrument-read-before-write=1", "-mllvm", "-tsan-distinguish-volatile=1"),
    # What clang++ moves or merges has no line any more. These words would let it move more than `turn` forbids.
    *("-mllvm", "-simplifycfg-hoist-common=false", "-mllvm", "-simplifycfg-sink-common=false"),
    *("-mllvm", "-enable-tail-merge=false"),
    *("-D__restrict__=", "-D__restrict="),
]


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


@functools.lru_cache
def headers_digest() -> str:
    """Of our headers, with their place: a build names their files in its line numbers, and findings rely on it."""
    files = sorted([*EMULATOR_INCLUDE.rglob("*"), *INCLUDE.iterdir()])
    return digest(str(HERE), *(f.read_bytes() for f in files if f.is_file()))


@functools.lru_cache
def rewriting_digest() -> str:
    """Of what reads and rewrites a file."""
    return digest(reading_digest(), *(f.read_bytes() for f in sorted(HERE.glob("*.py"))))


# ---- the emulator's runtime


def build_runtime(compiler: str) -> Path:
    """The runtime, built once per compiler and version of its sources (some seconds; says so on stderr)."""
    sources = sorted(RUNTIME.glob("*.cpp"))
    content = [f.read_bytes() for f in [*sources, *sorted(RUNTIME.glob("*.h"))]]
    flags = ["-std=c++17", "-O2", "-fPIC", "-fvisibility=hidden", "-ftls-model=initial-exec"]
    key = digest(*content, headers_digest(), compiler_version(compiler), *flags)

    def make(directory: Path) -> Path:
        print("yaie.cuda: building the emulator's runtime, once (about 10 s) ...", file=sys.stderr, flush=True)
        commands = [[compiler, *flags, "-c", f, "-o", f"{f.stem}.o"] for f in sources]
        with ThreadPool(len(os.sched_getaffinity(0))) as pool:
            results = pool.map(lambda command: run(command, directory), commands)
        if any(result.returncode for result in results):
            errors = "".join(result.stderr for result in results)
            raise CompileError(f"the emulator's runtime does not build with {compiler}:\n{errors}")
        link = [compiler, "-shared", "-o", "runtime.so", *(f"{f.stem}.o" for f in sources), "-lpthread", "-ldl"]
        result = run(link, directory)
        if result.returncode:
            raise CompileError(f"the emulator's runtime does not link with {compiler}:\n{result.stderr}")
        return directory / "runtime.so"

    return into_cache(folder() / f"runtime-{key}.so", make)


# ---- a file


@dataclass(frozen=True)
class Build:
    """A built library, what its file declares, and the variables that the compiler thinks are used unset."""

    path: Path
    launchers: tuple[Launcher, ...]
    kernels: frozenset[str]
    unset: tuple[Unset, ...]


def build_for_emulator(source: Source, compiler: str, check: bool, flags: Sequence[str] = ()) -> Build:
    """Builds a file; a build whose inputs have not changed is taken from the cache."""
    with as_compile_errors():
        source.refuse_conflicts()
    options = [*flags_for(compiler, check), *flags]
    inputs = (source.fingerprint(), str(source.path), headers_digest(), rewriting_digest(), compiler_version(compiler))
    # Literals apart from code, so that whoever reads code has gone astray; not every linker does that by itself.
    link = ["-shared", "-Wl,-Bsymbolic", "-Wl,-z,separate-code", *(CHECK_LINK_FLAGS if check else [])]
    libraries = [] if is_clang(compiler) else GCC_LIBRARIES
    target = folder() / f"{short_name(source)}-{digest(*inputs, *options, *link, *libraries)}.so"

    # Macros of ours may differ from those of the compiled header, which g++ then takes if it did not meet them.
    defined_only = all(flag.startswith("-D") for flag in flags)

    def make(directory: Path) -> Path:
        quick = precompiled_header(compiler, tuple(flags_for(compiler, check))) if defined_only else []
        try:
            notes = compile_rewritten(source, [compiler, *options], quick, directory)
        except CompileError as error:
            if not quick or "PCH" not in error.full:  # it could not be mapped into memory here
                raise
            notes = compile_rewritten(source, [compiler, *options], [], directory)
        # A step of its own, without -fsanitize=thread: the real sanitizer must not be linked.
        result = run([compiler, *link, "-o", "kernel.so", "kernel.o", *libraries], directory)
        if result.returncode:
            raise CompileError(f"{source.path.name} does not link:\n{result.stderr}", str(source.path))
        add_notes(directory / "kernel.so", notes)
        return directory / "kernel.so"

    path = into_cache(target, make)
    notes = read_notes(path)
    unset = tuple(Unset(**each) for each in notes["unset"])
    return Build(path, from_plain(notes["launchers"]), frozenset(notes["kernels"]), unset)


def compile_rewritten(source: Source, command: Sequence[str], quick: Sequence[str], directory: Path) -> dict:
    """Makes kernel.o of the file, rewritten; gives what is to be noted of it for `Build`."""
    preprocessed = preprocess(source, command, quick, directory)
    launchers = callable_launchers(source, without_system_headers(preprocessed))
    with as_compile_errors():
        rewriter = Rewriter(preprocessed, source.path)
        text = f"{rewriter.run()}{layout_checks(launchers)}{call_wrappers(launchers, source.path)}"
    (directory / "kernel.ii").write_bytes(encoded(text))
    # Nothing of ours or of the system may be expanded once more.
    language = ["-x", "c++-cpp-output", *([] if is_clang(command[0]) else ["-fpreprocessed"])]
    result = run([*command, *language, "-c", "kernel.ii", "-o", "kernel.o"], directory)
    if result.returncode:
        raise explain(result.stderr, source, explain_refusal)
    with as_compile_errors():
        refuse_variable_lengths(result.stderr, rewriter)
    unset = [asdict(each) for each in unset_variables(result.stderr, rewriter)]
    return {"launchers": as_plain(launchers), "kernels": sorted(rewriter.kernels), "unset": unset}


VARIABLE_LENGTH = re.compile(r"^(?P<file>[^\n]+?):(?P<line>\d+):\d+: warning: [^\n]*\[-Wvla\b[^\n]*\]$", re.M)


def refuse_variable_lengths(warnings: str, rewriter: Rewriter) -> None:
    """A local array whose length is not constant is an extension of g++ and clang++; nvcc has none in device code."""
    for match in VARIABLE_LENGTH.finditer(warnings):
        if rewriter.is_device_code(match["file"], int(match["line"])):
            message = "an array in device code needs a length that the compiler knows, and not a variable"
            raise SourceError(message, Path(match["file"]), int(match["line"]))


def preprocess(source: Source, command: Sequence[str], quick: Sequence[str], directory: Path) -> str:
    """The file with its macros, conditionals and headers resolved by the compiler.

    With the options `quick` our own header stays out of it: a line of the result asks for it as precompiled.
    """
    text = f'#include "yaie_emulator.h"\n#line 1 {quoted(source.path)}\n{source.text}'
    (directory / "kernel.cu").write_bytes(encoded(text))
    # Ours are headers of the system to the compiler, and so to the rewriting, which does not read them.
    ours = ["-isystem", EMULATOR_INCLUDE, "-isystem", INCLUDE]
    beside = ["-iquote", source.path.parent, "-I", source.path.parent]
    result = run([command[0], *quick, *command[1:], *beside, *ours, "-E", "kernel.cu"], directory)
    if result.returncode:
        raise explain(result.stderr, source, explain_refusal)
    return result.stdout


@functools.lru_cache
def precompiled_header(compiler: str, options: tuple[str, ...]) -> list[str]:
    """The option with which g++ finds our header compiled already, which saves a third of the time; [] if it cannot.

    g++ takes "yaie_emulator.h.gch" instead of "yaie_emulator.h" where it was made with the same options.
    """
    if is_clang(compiler):
        return []
    directory = folder() / f"headers-{digest(headers_digest(), compiler_version(compiler), *options)}"
    directory.mkdir(parents=True, exist_ok=True)

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
    return ["-fpch-preprocess", "-I", str(directory)]
