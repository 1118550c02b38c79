"""Builds ``.cu`` files and the emulator's runtime with g++ or clang++, keyed by everything that goes into them."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ..arguments import callable_launchers
from ..cache import cache_directory, into_cache
from ..compiler import CompileError, explain, run
from ..launchers import Launcher, layout_checks
from ..source import INCLUDE, Source, SourceError, digest
from .rewrite import Rewritten, call_wrappers, rewrite

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
    "-fsanitize=return",  # the end of a function without its return is reported instead of running on
]
FAST_FLAGS = ["-O2", "-w"]
# -O1 and no vectoriser: one access in the source stays one access, of its own size, on its own line.
CHECK_FLAGS = ["-O1", "-fsanitize=thread", "-fno-optimize-sibling-calls", "-Wuninitialized"]
GCC_FLAGS = ["-fno-gnu-unique", "-fmax-errors=5"]
GCC_CHECK_FLAGS = [
    "-Wmaybe-uninitialized",
    *("-fno-tree-sra", "-fno-tree-vectorize", "-fno-tree-slp-vectorize", "-fno-tree-loop-distribute-patterns"),
    *("-fno-crossjumping", "-fno-thread-jumps", "-fno-ipa-icf"),  # code that serves twice stays in one place
    *("--param", "tsan-instrument-func-entry-exit=0", "--param", "tsan-distinguish-volatile=1"),
]
# g++ does not report these calls, so they go through the runtime.
CHECK_LINK_FLAGS = [f"-Wl,--wrap={name}" for name in ("memcpy", "memmove", "memset")]
CLANG_FLAGS = ["-ferror-limit=5"]
CLANG_CHECK_FLAGS = [
    "-Wsometimes-uninitialized",
    *("-fno-vectorize", "-fno-slp-vectorize", "-fno-unroll-loops", "-mllvm", "-tsan-instrument-func-entry-exit=0"),
    *("-mllvm", "-tsan-instrument-read-before-write=1", "-mllvm", "-tsan-distinguish-volatile=1"),
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
    """Of our headers' text and place: a build names the headers' files in its line numbers, and findings rely on it."""
    files = sorted([*EMULATOR_INCLUDE.iterdir(), *INCLUDE.iterdir()])
    return digest(str(HERE), *(f.read_bytes() for f in files if f.is_file()))


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


# ---- a file


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


def build_for_emulator(
    source: Source, compiler: str, check: bool, flags: Sequence[str] = ()
) -> tuple[Path, tuple[Launcher, ...]]:
    """The built library and its launchers; a build whose inputs have not changed is taken from the cache."""
    launchers = callable_launchers(source)
    try:
        text, headers = rewrite_tree(source)
    except SourceError as error:
        raise CompileError(str(error), str(error.file), error.line) from None
    text = f'#include "yaie_emulator.h"\n{text}{layout_checks(launchers)}{call_wrappers(launchers)}'
    options = [*flags_for(compiler, check), *flags]
    key = digest(
        text,
        *(x for item in sorted(headers.items()) for x in item),
        headers_digest(),
        compiler_version(compiler),
        *options,
        *(CHECK_LINK_FLAGS if check else []),
    )

    def make(directory: Path) -> Path:
        (directory / "kernel.cpp").write_text(text)
        for name, content in headers.items():
            (directory / name).write_text("#pragma once\n" + content if "#pragma once" not in content else content)
        include = ["-I", directory, "-I", EMULATOR_INCLUDE, "-I", INCLUDE, "-I", source.path.parent]
        compile_it = [*options, *include, "-c", "kernel.cpp", "-o", "kernel.o"]
        # Macros of ours may differ from those of the compiled header, which g++ then takes if it did not meet them.
        defined_only = all(flag.startswith("-D") for flag in flags)
        quick = precompiled_header(compiler, tuple(flags_for(compiler, check))) if defined_only else []
        result = run([compiler, *quick, *compile_it], directory)
        if quick and result.returncode and "PCH" in result.stderr:  # it could not be mapped into memory here
            result = run([compiler, *compile_it], directory)
        if result.returncode:
            raise explain(result.stderr, source)
        unset = unset_variables(result.stderr)
        # A step of its own, without -fsanitize=thread: the real sanitizer must not be linked.
        link = [
            compiler,
            "-shared",
            "-Wl,-Bsymbolic",
            *(CHECK_LINK_FLAGS if check else []),
            "-o",
            "kernel.so",
            "kernel.o",
        ]
        result = run(link, directory)
        if result.returncode:
            raise CompileError(f"{source.path.name} does not link:\n{result.stderr}", str(source.path))
        with (directory / "kernel.so").open("ab") as file:  # linkers and loaders do not read what comes after the end
            file.write(UNSET_MARK + json.dumps(unset).encode())
        return directory / "kernel.so"

    target = cache_directory() / f"{source.path.stem}-{key}.so"
    return into_cache(target, make), launchers


UNSET_MARK = b"yaie-unset"
UNSET = re.compile(
    r"^(?P<file>[^\n]+?):(?P<line>\d+):\d+: warning: .{0,9}?(?:variable )?[\u2018'](?P<name>[^\u2019']+)[\u2019']"
    r" (?:is|may be) (?:used )?uninitialized",
    re.M,
)


def unset_variables(stderr: str) -> list[tuple[str, int, str, str]]:
    """The local variables that the compiler thinks are, or may be, used before they are set: file, line, name, and the
    compiler's words about the function (and where that was inlined)."""
    found, end = set(), 0
    for m in UNSET.finditer(stderr):
        about = [line for line in stderr[end : m.start()].splitlines() if "In " in line or "inlined from" in line]
        found.add((m["file"], int(m["line"]), m["name"], "\n".join(about)))
        end = m.end()
    return sorted(found)


def read_unset_variables(library: Path) -> list[list]:
    _, _, text = library.read_bytes().rpartition(UNSET_MARK)
    return json.JSONDecoder().raw_decode(text.decode(errors="replace"))[0]


@functools.lru_cache
def precompiled_header(compiler: str, options: tuple[str, ...]) -> list[str]:
    """The option with which g++ finds our header compiled already, which saves a third of the time; [] if it cannot.

    g++ takes "yaie_emulator.h.gch" instead of "yaie_emulator.h" where it was made with the same options.
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
