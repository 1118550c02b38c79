"""nvcc's rules that g++ does not know."""

from __future__ import annotations

from .declarations import Declarations
from .words import Words


def check_rules(words: Words, found: Declarations, device_code: list[tuple[int, int]]) -> None:
    pass
