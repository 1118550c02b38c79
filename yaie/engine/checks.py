"""The words for values that cannot be taken: what it is, what was expected, what came."""

from __future__ import annotations

import re
from numbers import Integral
from typing import Any


def require(is_right: bool, name: str, expected: str, value: object) -> None:
    """Raise ValueError unless `is_right`."""
    if not is_right:
        raise ValueError(f"{name} must be {expected}, got {shown(value)}")


def as_int(value: Any) -> Any:
    """An integer of any kind (numpy's too, but no bool) as an int; whatever else it is as it is."""
    return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else value


def is_int(value: object, least: float, most: float = float("inf")) -> bool:
    """Whether a value is an int, and no bool, within these bounds."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def is_text(value: object) -> bool:
    """Whether a value is a str that UTF-8 has: no decoder gives, and no tokenizer takes, half a surrogate pair."""
    return isinstance(value, str) and re.search("[\ud800-\udfff]", value) is None


def shown(value: object) -> str:
    """A value for a message: its repr, cut; the name of its type where it has none."""
    try:
        text = repr(value)
    except Exception:  # an int of more digits than Python prints, a class whose __repr__ fails
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 80 else f"{text[:60]}... ({type(value).__name__})"
