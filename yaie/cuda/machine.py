"""What can run on this machine: which of the two compilers is here, and which card."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

import yaie.cuda

from .card.nvcc import needs_hopper
from .source import read_source


@cache
def obstacle(backend: str) -> str | None:
    """Why a backend cannot run on this machine; None if nothing is in the way."""
    if backend == "cuda":
        if not torch.cuda.is_available():
            return "torch finds no GPU"
        if yaie.cuda.find_prebuilt() is None and not yaie.cuda.find_nvcc():
            return "its kernels are compiled with nvcc, which was not found"
    elif backend == "emulator":
        try:
            yaie.cuda.find_compiler()
        except yaie.cuda.CompileError as error:
            return str(error)
    return None


@cache
def for_hopper(path: Path) -> bool:
    """Whether a file has instructions of Hopper."""
    return needs_hopper(read_source(path).headers())


def on_hopper(file: str) -> bool:
    """Whether the present card is a Hopper, and a file of csrc/ that is for Hopper is built or can be."""
    if not torch.cuda.is_available() or torch.cuda.get_device_capability() != (9, 0):
        return False
    prebuilt = yaie.cuda.find_prebuilt()
    return bool(yaie.cuda.find_nvcc()) or (prebuilt is not None and file in prebuilt.SOURCES)
