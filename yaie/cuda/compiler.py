"""What a C++ compiler and nvcc have in common: how they are run, and how their messages are read."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .source import Source

HERE = Path(__file__).parent
MESSAGE = re.compile(
    r"^(?P<file>[^:\n]+):(?P<line>\d+):(?:(?P<column>\d+):)?\s+(?:fatal )?error:\s+(?P<text>.*)$", re.M
)
PLACE = re.compile(r"^(?:In file included from |\s+from )?(?P<file>[^:\n]+):(?P<line>\d+)[:,]", re.M)


class CompileError(RuntimeError):
    """A file does not compile. ``file`` and ``line`` say where, ``message`` is the compiler's own words."""

    def __init__(self, message: str, file: str | None = None, line: int | None = None, full: str = "") -> None:
        super().__init__(message)
        self.message, self.file, self.line, self.full = message, file, line, full


class UnsupportedError(CompileError):
    """The file uses something that the emulator does not have; the message names it and says where to run it."""


def run(command: Sequence[object], directory: Path) -> subprocess.CompletedProcess:
    return subprocess.run([str(c) for c in command], cwd=directory, capture_output=True, text=True, errors="replace")


def explain(stderr: str, source: Source) -> CompileError:
    """The first error in the file's own words and lines; what happened inside our headers is left in ``.full``."""
    stderr = re.sub(r"^(\S+?)\((\d+)\): error", r"\1:\2: error", stderr, flags=re.M)  # as nvcc writes a place
    refused = re.search(r"yaie refuses: (.*)", stderr)
    match = MESSAGE.search(stderr)
    if not match:
        return CompileError(f"{source.path.name} does not compile:\n{stderr.strip()}", str(source.path), full=stderr)
    file, line = match["file"], int(match["line"])
    if _is_internal(file):  # an error inside a header of ours was caused by the file's own line that led there
        own = next((m for m in PLACE.finditer(stderr) if not _is_internal(m["file"])), None)
        file, line = (own["file"], int(own["line"])) if own else (str(source.path), None)
    text = refused[1].replace('\\"', '"').rstrip('"') if refused else _plain(match["text"])
    shown = f"{Path(file).name}:{line}: {text}" if line else f"{Path(file).name}: {text}"
    if code := _source_line(file, line, source):
        shown += f"\n    {code}"
    return (UnsupportedError if refused else CompileError)(shown, file, line, stderr)


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
