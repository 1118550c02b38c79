"""A place for what ``torch.utils.cpp_extension`` builds, where an interrupted build does no harm.

torch takes a file called ``lock`` in the build's directory, and waits for ever on one that a killed process left
behind. So each source gets a directory of its own, in which it is also written down who builds there.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

from .build import cache_directory, digest


def extension_directory(*parts: str) -> Path:
    """The directory to pass as ``build_directory`` to ``load`` and ``load_inline``: one for each content of ``parts``
    (the sources and flags) and version of torch and Python. What was built there before is found again.

    A lock of a process that has ended is removed, and that is said on stderr.
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
        return True  # it runs, and belongs to somebody else
    except (OSError, ValueError):
        return False
    return True
