"""The languages that exercises are written in. Everything that depends on which one it is stands in here."""

from yaie.course.language.base import Language, Slip, Swap, Written
from yaie.course.language.cuda import CUDA
from yaie.course.language.python import PYTHON

__all__ = ["CUDA", "PYTHON", "Language", "Slip", "Swap", "Written"]
