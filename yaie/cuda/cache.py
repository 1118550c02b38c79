"""Where builds are kept. Each one is made in a directory of its own and renamed into the cache, which is atomic: an
interrupted build leaves nothing that a later one could meet, and two builds of one file at a time do no harm.

Why g++ is called directly, and not through ``torch.utils.cpp_extension.load``: that imports setuptools and ninja, adds
PyTorch's own headers and libraries to every build, and waits for ever on the lock file of an interrupted build.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import platformdirs
import torch

from .source import digest

KEPT_BUILDS, KEPT_CUBINS, KEPT_HEADERS = 1000, 60, 6  # a precompiled header takes 23 MB


def cache_directory() -> Path:
    """``$YAIE_CACHE_DIR``, else the user's cache directory."""
    directory = Path(os.environ.get("YAIE_CACHE_DIR") or platformdirs.user_cache_dir("yaie"))
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def into_cache(target: Path, make: Callable[[Path], Path]) -> Path:
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


# ---- for torch.utils.cpp_extension


def extension_directory(*parts: str) -> Path:
    """The ``build_directory`` to pass to ``load`` and ``load_inline`` of ``torch.utils.cpp_extension``.

    One for each content of ``parts`` (the sources and flags) and version of torch and Python, so what was built there
    before is found again.

    torch waits for ever on the file ``lock`` that a killed process left in the build's directory. So it is written down
    who builds there, and a lock of a process that has ended is removed; that is said on stderr.
    """
    key = digest(*parts, torch.__version__, sys.version)
    directory = cache_directory() / "extensions" / key
    directory.mkdir(parents=True, exist_ok=True)
    lock, builder = directory / "lock", directory / "builder"
    if lock.exists() and not _lives(builder):
        lock.unlink(missing_ok=True)
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
