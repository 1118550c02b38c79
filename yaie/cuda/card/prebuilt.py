"""Launchers that were built ahead of time, into the module ``yaie_kernels`` (``pip install ./csrc``).

``yaie_kernels`` has ``SOURCES``, from the name of a file under csrc/ ("memory/copy_blocks.cu") to the fingerprint that
it was built from, ``LAUNCHERS``, from a launcher's name to its address, and ``ARCHITECTURES`` ("8.0;9.0a").
"""

from __future__ import annotations

import functools
import importlib
import warnings
from types import ModuleType

import torch

from ..source import Source, read_text
from .nvcc import runs_on


@functools.cache
def find_prebuilt() -> ModuleType | None:
    """``yaie_kernels``, if it is installed."""
    try:
        return importlib.import_module("yaie_kernels")
    except ImportError:
        return None


def prebuilt_launchers(source: Source) -> dict[str, int] | None:
    """The addresses of all prebuilt launchers, if those of this file were built from its text and for this card.

    Says so if a file was edited since, or the build is for other cards. A text that only stands for a file (``path`` of
    ``load``) is compiled without a word.
    """
    kernels = find_prebuilt()
    name = f"{source.path.parent.name}/{source.path.name}"
    if kernels is None or name not in kernels.SOURCES:
        return None
    if kernels.SOURCES[name] != source.fingerprint():
        if not source.path.is_file() or read_text(source.path) != source.text:
            return None
        problem = f"csrc/{name} or a header of it was edited since yaie_kernels was built"
    elif not runs_on(kernels.ARCHITECTURES.split(";"), torch.cuda.get_device_capability()):
        problem = f"yaie_kernels was built for other cards ({kernels.ARCHITECTURES})"
    else:
        return kernels.LAUNCHERS
    warnings.warn(f"{problem}, so it is compiled now; to build all again: pip install ./csrc", stacklevel=2)
    return None
