"""nvcc: where it is, its options, and which cards its code runs on. Standard library only, for ``csrc/setup.py``."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

FLAGS = ["-std=c++17", "-lineinfo", "--extended-lambda"]


def find_tool(name: str) -> str | None:
    """A program of the CUDA toolkit on the PATH, in $CUDA_HOME, or in /usr/local/cuda; None where there is none."""
    home = os.environ.get("CUDA_HOME") or "/usr/local/cuda"
    return shutil.which(name) or shutil.which(name, path=f"{home}/bin")


def find_nvcc() -> str | None:
    return find_tool("nvcc")


# A file that includes it has instructions of this architecture alone ("a": no later card has them).
HOPPER_HEADER, HOPPER = "yaie_hopper.cuh", "9.0a"


def needs_hopper(headers: Iterable[Path]) -> bool:
    """Whether a file that includes these headers runs only on a card of compute capability 9.0."""
    return any(header.name == HOPPER_HEADER for header in headers)


def runs_on(architectures: list[str], capability: tuple[int, int]) -> bool:
    """Whether a build for ["8.0", "9.0a", "12.0+PTX"] runs on a card: code for an older minor number of the same major
    one does, code with a letter on its own card only, PTX on all later cards."""
    for arch in architectures:
        number = arch.removesuffix("+PTX").rstrip("af")
        major, minor = map(int, number.split("."))
        if (major, minor) == capability or (arch == f"{number}+PTX" and (major, minor) <= capability):
            return True
        if arch.removesuffix("+PTX") == number and major == capability[0] and minor <= capability[1]:
            return True
    return False
