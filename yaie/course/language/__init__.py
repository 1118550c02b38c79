"""The languages that exercises are written in. Everything that depends on which one it is stands in here."""

from yaie.course.language.base import Language, Slip, Swap, Written
from yaie.course.language.cuda import CUDA
from yaie.course.language.python import PYTHON

__all__ = ["CUDA", "PYTHON", "Language", "Slip", "Swap", "Written", "language_of"]


def language_of(module: str) -> Language:
    """The language of an exercise's module: CUDA for "csrc/memory/copy_blocks.cu", Python for "yaie.kernels.rope"."""
    return CUDA if module.endswith((".cu", ".cuh")) else PYTHON
