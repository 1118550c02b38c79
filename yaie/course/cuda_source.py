"""Find a function in CUDA C++ text by its name and matching braces, and take its body out.

No C++ parser: comments, strings and preprocessor lines are blanked, then braces are counted. That is enough for the
files in `csrc/`, where a function is defined at the top level or in a namespace, once, and in one piece.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_SKIPPED = re.compile(
    r"""//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|^[ \t]*\#(?:\\\n|[^\n])*""",
    re.DOTALL | re.MULTILINE,
)
HOLE = re.compile(r"\s*(?:return\s*\{\s*\}\s*;)?\s*")


class NotFound(LookupError):
    """The text has no such function, or its braces do not match."""


@dataclass(frozen=True)
class Function:
    """Where a function stands in a text: its signature starts at `start`, its body is text[body:end - 1], braces
    outside; `first_line` and `last_line` count from 1."""

    name: str
    start: int
    body: int
    end: int
    first_line: int
    last_line: int


def blanked(text: str) -> str:
    """The text with comments, strings and preprocessor lines as blanks, so that every place stays where it is."""
    return _SKIPPED.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)


def find(text: str, name: str) -> Function:
    """The definition of function `name`. Raises `NotFound` with a sentence."""
    code = blanked(text)
    for call in re.finditer(rf"\b{re.escape(name)}\s*\(", code):
        after = _closing(code, call.end() - 1, name)
        brace = re.compile(r"\s*(?:const|noexcept|\s)*\{").match(code, after)
        if brace is None:
            continue  # a call or a declaration
        end = _closing(code, brace.end() - 1, name)
        start = _signature_start(code, call.start())
        first, last = text.count("\n", 0, start) + 1, text.count("\n", 0, end) + 1
        return Function(name, start, brace.end(), end, first, last)
    raise NotFound(f"there is no definition of `{name}`")


def _closing(code: str, opening: int, name: str) -> int:
    """The place behind the bracket that closes the one at `opening`."""
    pairs = {"(": ")", "{": "}"}
    opens, closes, depth = code[opening], pairs[code[opening]], 0
    for place in range(opening, len(code)):
        depth += (code[place] == opens) - (code[place] == closes)
        if depth == 0:
            return place + 1
    line = code.count("\n", 0, opening) + 1
    raise NotFound(f"the `{opens}` in line {line}, in or after `{name}`, is never closed")


def _signature_start(code: str, name_at: int) -> int:
    """Where the signature starts: behind the last `;`, `}` or `{` before the name, blanks left out."""
    before = max(code.rfind(mark, 0, name_at) for mark in ";{}")
    start = before + 1
    return start + len(code[start:name_at]) - len(code[start:name_at].lstrip())


def source(text: str, function: Function) -> str:
    """The function's own text, from its signature to its closing brace."""
    return text[function.start : function.end]


def is_hole(text: str, function: Function) -> bool:
    """True while nothing but comments (and `return {};`) stands in the body."""
    return HOLE.fullmatch(blanked(text)[function.body : function.end - 1]) is not None


def stub(text: str, function: Function, note: str) -> str:
    """The function with an empty body, which compiles and does nothing; `note` stands in it as a comment."""
    signature = text[function.start : function.body]
    returns_nothing = re.search(r"\bvoid\b", blanked(signature).partition(function.name)[0])
    nothing = "" if returns_nothing else "\n    return {};"
    return f"{signature}\n    // {note}{nothing}\n}}"


def replace(text: str, function: Function, new: str) -> str:
    """The text with the function replaced by `new`."""
    return text[: function.start] + new + text[function.end :]
