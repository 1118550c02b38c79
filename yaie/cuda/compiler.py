"""What a C++ compiler and nvcc have in common: how they are run, and how their messages are read."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .source import INCLUDE, Source, SourceError, read_text

HERE = Path(__file__).parent
ERROR = r":(?P<line>\d+):(?:\d+:)?\s+(?:fatal )?error:\s+(?P<text>.*)$"
NOT_A_WAY = r"^(?!In file included from |\s+from )"  # lines that lead to an error
PLACE = r"^(?:In file included from |\s+from )?(?P<file>{names}):(?P<line>\d+)(?:[:,]|$)"


class CompileError(RuntimeError):
    """A file does not compile. ``file`` and ``line`` say where, ``message`` is the compiler's own words."""

    def __init__(self, message: str, file: str | None = None, line: int | None = None, full: str = "") -> None:
        super().__init__(message)
        self.message, self.file, self.line, self.full = message, file, line, full


class UnsupportedError(CompileError):
    """The file uses something that the emulator does not have; the message names it and says where to run it."""


@contextmanager
def as_compile_errors() -> Iterator[None]:
    """What we cannot read in a file is to the caller what a compiler cannot."""
    try:
        yield
    except SourceError as error:
        kind = UnsupportedError if error.unsupported else CompileError
        raise kind(str(error), str(error.file), error.line) from None


# Runs a command, and kills its group of processes as soon as the pipe on its standard input ends: when we say so, or
# when this process has gone, however it went. Compilers have children of their own, which would go on for minutes.
GUARDED = 'exec 3<&0 </dev/null; { read -r _ <&3; kill -9 0; } >/dev/null 2>&1 & exec 3<&-; exec "$@"'


def run(command: Sequence[object], directory: Path) -> subprocess.CompletedProcess:
    """Runs a compiler, which speaks English; ended with all its children if this is interrupted or killed."""
    words = [os.fspath(c) if isinstance(c, Path) else str(c) for c in command]
    ours, its = os.pipe()[::-1]
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", GUARDED, "sh", *words],
            cwd=directory,
            stdin=its,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "LC_ALL": "C"},
            process_group=0,
            encoding="utf-8",
            errors="surrogateescape",
        )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(its)
    try:
        output, errors = process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    finally:
        os.close(ours)
    return subprocess.CompletedProcess(words, process.returncode, output, errors)


def explain(stderr: str, source: Source, refuse: Callable[[str], str | None] = lambda text: None) -> CompileError:
    """The first error in the file's own words and lines; what happened inside our headers is left in ``.full``.

    ``refuse`` has a sentence for errors that mean that the emulator does not have something.
    """
    stderr = re.sub(r"^(.+?)\((\d+)\): (?:fatal )?error", r"\1:\2: error", stderr, flags=re.M)  # as nvcc writes a place
    own = own_files(source)
    names = "|".join(map(re.escape, sorted(own, key=len, reverse=True)))  # first, for a path may hold colons and words
    match = re.search(f"{NOT_A_WAY}(?P<file>{names}|(?!(?:{names}):).+?){ERROR}", stderr, re.M)
    if not match:
        return CompileError(f"{source.path.name} does not compile:\n{stderr.strip()}", str(source.path), full=stderr)
    file, line = match["file"], int(match["line"])
    if is_internal(file, own):  # an error inside a header of ours was caused by the file's own line that led there
        led = re.search(PLACE.format(names=names), stderr, re.M)
        file, line = (led["file"], int(led["line"])) if led else (str(source.path), None)
    refused = refuse(match["text"])
    text = refused or in_our_words(match["text"]) + _reason(stderr[match.end() :])
    shown = f"{Path(file).name}:{line}: {text}" if line else f"{Path(file).name}: {text}"
    if code := _source_line(file, line, source):
        shown += f"\n    {code}"
    return (UnsupportedError if refused else CompileError)(shown, file, line, stderr)


def _reason(notes: str) -> str:
    """Why clang++ takes no call of the only function of that name; g++ says so in the error itself."""
    of_this_error = re.split(r": error: ", notes, maxsplit=1)[0]
    reasons = re.findall(r"note: candidate function not viable: (.*)$", of_this_error, re.M)
    return f": {in_our_words(reasons[0])}" if len(reasons) == 1 else ""


def own_files(source: Source) -> set[str]:
    """The user's files that a source is made of, as compilers name them."""
    headers = (header for header in source.headers() if header.parent != INCLUDE)
    return {str(source.path), *source.lines(), *map(str, headers)}


def is_internal(file: str, own: set[str]) -> bool:
    """Whether a file is ours, the system's or the compiler's, and not one of the user's `own`."""
    return file not in own and (file.startswith((f"{HERE}/", "/usr/")) or file == "yaie-launchers")


def in_our_words(text: str) -> str:
    """A compiler's sentence without the names that the rewriting brought in."""
    text = re.sub(r"(?:::)?emu_(threadIdx|blockIdx|blockDim|gridDim)\(\)", r"\1", text)
    text = re.sub(r"emu_(printf|clock)(?:32)?", r"\1", text)
    return re.sub(r"; did you mean '[^']*(?:emu|EMU|yaie)[^']*'\?", "", text)


def _source_line(file: str, line: int | None, source: Source) -> str:
    if not line:
        return ""
    path = Path(file)
    lines = source.lines().get(file) or (read_text(path).split("\n") if path.is_file() else [])
    return lines[line - 1].strip() if line <= len(lines) else ""
