"""YAIE, yet another inference engine: a course that builds an LLM inference engine, and the engine itself.

Names are loaded when they are first used, so that `import yaie` stays quick and needs neither a GPU nor a compiler.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_WHERE = {
    "SamplingParams": ("yaie.engine.sampling_params", "SamplingParams"),
    "exercise": ("yaie.course.api", "exercise"),
    "board": ("yaie.course.api", "board"),
    "cache": ("yaie.course.api", "cache"),
    "check": ("yaie.course.api", "check"),
    "reset": ("yaie.course.api", "reset"),
    "update": ("yaie.course.api", "update"),
    "predict": ("yaie.course.predict", "predict"),
    "doctor": ("yaie.course.doctor", "examine"),
}

__all__ = ["LLM", "SamplingParams", "board", "cache", "check", "doctor", "exercise", "predict", "reset", "update"]


def LLM(model: Any = "tiny", *, parts: str | None = None, **options: Any) -> Any:
    """A model with its engine: `yaie.engine.llm.LLM`, which says what the options are.

    parts: "exercises" has it call the exercises that you have solved instead of its own functions; then `llm.parts`
        says whose code runs
    """
    if parts not in (None, "exercises"):
        raise ValueError(f"parts must be None or 'exercises', got {parts!r}")
    room = "yaie.course.parts" if parts else "yaie.engine.llm"
    return import_module(room).LLM(model, **options)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'yaie' has no attribute {name!r}")
    module, attribute = _WHERE[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*globals(), *_WHERE])
