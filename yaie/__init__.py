"""YAIE, yet another inference engine: a course that builds an LLM inference engine, and the engine itself.

Names are loaded when they are first used, so that `import yaie` stays quick and needs neither a GPU nor a compiler.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_WHERE = {
    "LLM": ("yaie.engine.llm", "LLM"),
    "SamplingParams": ("yaie.engine.sampling_params", "SamplingParams"),
    "exercise": ("yaie.course.handle", "exercise"),
    "board": ("yaie.course.handle", "board"),
    "doctor": ("yaie.course.handle", "examine"),
}

__all__ = ["LLM", "SamplingParams", "board", "doctor", "exercise"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'yaie' has no attribute {name!r}")
    module, attribute = _WHERE[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE])
