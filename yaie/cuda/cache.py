"""Where builds are kept. Each one is made in a directory of its own and renamed into the cache, which is atomic: an
interrupted build leaves nothing that a later one could meet, and two builds of one file at a time do no harm.

Why g++ is called directly, and not through ``torch.utils.cpp_extension.load``: that imports setuptools and ninja, adds
PyTorch's own headers and libraries to every build, and waits for ever on the lock file of an interrupted build.
"""

from __future__ import annotations

import fnmatch
import functools
import hashlib
import json
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import platformdirs
import torch

from .source import Source, digest

SIZE_LIMIT = 1 << 30  # bytes; $YAIE_CACHE_BYTES says otherwise
IN_USE = 600  # seconds: what was used so lately may be about to be loaded, so it is not removed to make room
KINDS = ("*.so", "*.cubin", "headers-*", "building-*")  # what we put there, and "extensions/*"; the rest is not ours
SEAL, NOTES = b"yaie-sealed", b"yaie-notes"


def folder() -> Path:
    """Where builds are kept: ``$YAIE_CACHE_DIR``, else the user's cache directory, else, if that cannot be used (a
    read-only place, no home), one in the system's temporary directory, which is said on stderr when that is made.

    Raises an OSError that says what to do if there is no such place at all.
    """
    chosen = os.environ.get("YAIE_CACHE_DIR")
    wanted = os.path.abspath(os.path.expanduser(chosen)) if chosen else platformdirs.user_cache_dir("yaie")
    return _usable(Path(wanted), Path(tempfile.gettempdir()) / f"yaie-{os.getuid()}")


@functools.cache
def _usable(wanted: Path, instead: Path) -> Path:
    problem = _problem_with(wanted)
    if not problem:
        return wanted
    is_new = not instead.exists()  # so it is said once, and not by every process
    if also := _problem_with(instead, private=True):
        raise OSError(
            f"no folder to build in: {wanted} cannot be used ({problem}), {instead} neither ({also}); "
            "set YAIE_CACHE_DIR to a folder that can be written to"
        )
    if is_new:
        said = f"yaie.cuda: {wanted} cannot be used ({problem}); builds are kept in {instead}"
        print(said, file=sys.stderr, flush=True)
    return instead


def _problem_with(directory: Path, private: bool = False) -> str:
    """Why builds cannot be kept there; empty if they can. A ``private`` one must belong to this user alone, because
    what lies in it is run."""
    if not directory.is_absolute():
        return "there is no home directory"
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700 if private else 0o777)
        with tempfile.TemporaryFile(dir=directory):
            pass
        status = directory.stat()
    except OSError as error:
        return error.strerror or str(error)
    if private and (status.st_uid != os.getuid() or status.st_mode & 0o022):
        return "it belongs to others too"
    return ""


def usage() -> tuple[int, int]:
    """How many files the cache has, and their bytes."""
    sizes = [size for entry in _entries() for _, size in _files(entry)]
    return len(sizes), sum(sizes)


def clear() -> int:
    """Removes all that was built, and returns the bytes freed. What runs at present has it open, and goes on."""
    freed = usage()[1]
    for entry in _entries():
        _remove(entry)
    return freed - usage()[1]


def short_name(source: Source) -> str:
    """What a build's file name begins with, so that people find it: letters and digits of the source's name."""
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in source.path.stem)[:40]


def into_cache(target: Path, make: Callable[[Path], Path]) -> Path:
    """``make(directory)`` returns a file in a fresh directory, which becomes ``target`` in one step.

    A file is sealed with a hash of what it holds (which linkers and loaders do not read, since it comes after the end).
    One that was cut short or damaged since is made anew: loading it would end the process.
    """
    if _is_sealed(target):
        os.utime(target)  # what was used last is kept
        return target
    target.parent.mkdir(parents=True, exist_ok=True)  # somebody may have removed the whole cache since it was found
    with tempfile.TemporaryDirectory(prefix="building-", dir=target.parent) as directory:
        made = make(Path(directory))
        _seal(made)
        os.replace(made, target)
    prune()
    return target


def add_notes(path: Path, notes: dict) -> None:
    """Writes down what is to be known about a build behind its end, where linkers and loaders do not read."""
    with path.open("ab") as file:
        file.write(NOTES + json.dumps(notes).encode())


def read_notes(path: Path) -> dict:
    _, _, text = path.read_bytes().rpartition(NOTES)
    return json.JSONDecoder().raw_decode(text.decode(errors="replace"))[0]


def _seal(path: Path) -> None:
    content = path.read_bytes()
    with path.open("ab") as file:
        file.write(SEAL + _hash(content))


def _is_sealed(path: Path) -> bool:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return False
    end = len(content) - len(SEAL) - 16
    return content[end:] == SEAL + _hash(content[: max(end, 0)])


def _hash(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


# ---- how much is kept


def prune() -> None:
    """Drops what was not used for longest, down to the limit in bytes, and directories of builds that were killed."""
    now = time.time()
    entries = [(_changed(entry), entry, sum(size for _, size in _files(entry))) for entry in _entries()]
    total, limit = sum(size for _, _, size in entries), size_limit()
    for changed, entry, size in sorted(entries):
        killed = entry.name.startswith("building-") and now - changed > 24 * 3600
        if killed or (total > limit and now - changed > IN_USE):
            _remove(entry)
            total -= size


def size_limit() -> int:
    text = os.environ.get("YAIE_CACHE_BYTES", str(SIZE_LIMIT))
    if not text.isdecimal():
        raise ValueError(f"YAIE_CACHE_BYTES must be a number of bytes, such as {SIZE_LIMIT}, not {text!r}")
    return int(text)


def _entries() -> Iterator[Path]:
    for directory, kinds in ((folder(), KINDS), (folder() / "extensions", ("*",))):
        with suppress(FileNotFoundError):
            for name in os.listdir(directory):
                if any(fnmatch.fnmatchcase(name, kind) for kind in kinds):
                    yield directory / name


def _files(path: Path) -> list[tuple[float, int]]:
    """When each file of an entry was changed, and its bytes; without those that another process has just removed."""
    with suppress(FileNotFoundError):
        status = path.stat()
        if not stat.S_ISDIR(status.st_mode):
            return [(status.st_mtime, status.st_size)]
        return [found for name in os.listdir(path) for found in _files(path / name)]
    return []


def _changed(path: Path) -> float:
    """When it was last used; now, if there is nothing in it yet."""
    return max((time_ for time_, _ in _files(path)), default=time.time())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


# ---- for torch.utils.cpp_extension


def extension_directory(*parts: str) -> Path:
    """The ``build_directory`` to pass to ``load`` and ``load_inline`` of ``torch.utils.cpp_extension``.

    One for each content of ``parts`` (the sources and flags) and version of torch and Python, so what was built there
    before is found again.

    torch waits for ever on the file ``lock`` that a killed process left in the build's directory. So it is written down
    who builds there, and a lock of a process that has ended is removed; that is said on stderr.
    """
    key = digest(*parts, torch.__version__, sys.version)
    directory = folder() / "extensions" / key
    directory.mkdir(parents=True, exist_ok=True)
    lock, builder = directory / "lock", directory / "builder"
    if lock.exists() and not _lives(builder):
        lock.unlink(missing_ok=True)
        if not any(directory.glob("*.so")):  # torch 2.14 leaves its lock behind a build that has ended, too
            print("yaie.cuda: removed the lock of a build that was interrupted", file=sys.stderr, flush=True)
    if not lock.exists():
        builder.write_text(str(os.getpid()))
    return directory


def _lives(builder: Path) -> bool:
    """Whether the process whose number is in the file still runs."""
    try:
        os.kill(int(builder.read_text()), 0)
    except PermissionError:
        return True  # it runs, and belongs to another user
    except (OSError, ValueError):
        return False
    return True
