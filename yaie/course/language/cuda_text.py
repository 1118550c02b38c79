"""Read CUDA C++ as text: what stands at the top level of a file, and what a function of it looks like from outside.

No C++ parser: comments, strings and preprocessor lines are blanked, then braces are counted. That is enough for the
files in `csrc/`, where a function is defined once and outside of any namespace.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from functools import lru_cache

from yaie.cuda.source import split_top_level

_SKIPPED = re.compile(
    r"""//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'"""
    r"|^[ \t]*\#(?:\\\n|(?!//|/\*)[^\n])*",
    re.DOTALL | re.MULTILINE,
)
LAUNCHER = 'extern "C"'
_MACRO = re.compile(r"\s*#\s*define\b")
_NAME = re.compile(r"[A-Za-z_]\w*")
# What stands in the innermost brackets: those that have only empty ones in them.
_INSIDE = re.compile(r"(?<=\{)(?:[^{}]|\{\})+(?=\})|(?<=\()(?:[^()]|\(\))+(?=\))|<[^<>;(){}]*>")
# Words before a bracket or a mark that are not the name of what is defined.
_WORDS = frozenset(["alignas", "decltype", "extern", "namespace", "static_assert", "__launch_bounds__"])
# What the type of a parameter without a name may end with.
_TYPE = re.compile(
    r"bool|char|double|float|int|long|short|(?:un)?signed|u?int\d+_t|size_t|cudaStream_t|half|nv_bfloat16"
)


class NotFound(LookupError):
    """The text has no such function, or its braces do not match; a sentence says which."""


@dataclass(frozen=True)
class Piece:
    """A definition or declaration at the top level: text[start:end].

    `defines` are the names that it may define, `uses` all that stand in it. A function's body is text[body:end - 1],
    braces outside; `body` is 0 for all else.
    """

    text: str = field(repr=False)
    start: int
    end: int
    body: int
    defines: frozenset[str]
    uses: frozenset[str]

    @property
    def source(self) -> str:
        """Its own text; a function's, from its signature to its closing brace."""
        return self.text[self.start : self.end]

    @property
    def head(self) -> str:
        """What stands before the brace of a function's body, in one line and without comments."""
        return " ".join(blanked(self.text[self.start : self.body - 1]).split())

    @property
    def first_line(self) -> int:
        return _line(self.text, self.start)

    @property
    def last_line(self) -> int:
        return _line(self.text, self.end)

    @property
    def comment(self) -> str:
        """The `//` lines directly above; empty where there are none."""
        lines = self.text[: self.start].split("\n")[:-1]
        first = len(lines)
        while first > 0 and lines[first - 1].lstrip().startswith("//"):
            first -= 1
        return "\n".join(lines[first:])

    @property
    def is_hole(self) -> bool:
        """True while nothing but comments (and `return {};`) stands in the body."""
        inside = blanked(self.text[self.body : self.end - 1])
        return re.fullmatch(r"\s*(?:return\s*\{\s*\}\s*;)?\s*", inside) is not None


def blanked(text: str) -> str:
    """The text with comments, strings and preprocessor lines as blanks, so that every place stays where it is."""
    return _SKIPPED.sub(lambda match: _blanks(match.group()), text)


def _blanks(text: str) -> str:
    return "\n".join(" " * len(line) for line in text.split("\n"))


def normal(text: str) -> str:
    """The text without comments and with single spaces, to tell a change of code from a change of layout."""
    return " ".join(_SKIPPED.sub(lambda match: " " if match.group()[0] == "/" else match.group(), text).split())


@lru_cache(maxsize=64)  # a check looks at the engine's file and the learner's many times
def pieces(text: str) -> tuple[Piece, ...]:
    """Everything at the top level of the text, preprocessor lines left out, in order.

    Raises `NotFound` with a sentence where a brace has no partner.
    """
    code, found, open_at, start, outer = blanked(text), [], [], 0, 0
    for match in re.finditer(r"[{};]|\b__global__\b|\Z", code):
        mark, place = match.group(), match.start()
        if mark == "{":
            open_at.append(place)
            outer = open_at[0]
        elif mark == "}" and not open_at:
            raise NotFound(f"the `}}` in line {_line(code, place)} closes nothing")
        elif mark == "}":
            open_at.pop()
            # Behind a struct or a list of values, the definition goes on.
            mark = "end" if code[place + 1 :].lstrip()[:1] not in tuple(";,)(") else mark
        elif open_at and mark == "":
            raise NotFound(f"{_opened(code, start, outer)} is never closed")
        elif open_at and mark == "__global__" and not re.search(r"\b(?:namespace|extern)\b", code[start:outer]):
            next_one = f"the next function, in line {_line(code, place)}"
            raise NotFound(f"{_opened(code, start, outer)} is not closed before {next_one}")
        if not open_at and mark in ("end", ";", ""):
            end = place + len(match.group())
            if code[start:end].strip(" \n\t;"):
                start += len(code[start:end]) - len(code[start:end].lstrip())
                found.append(_piece(text, code[:end].rstrip(), start, outer))
            start = end
    return tuple(found)


def _opened(code: str, start: int, place: int) -> str:
    """A brace that has no partner, and whose it is."""
    names = re.findall(r"(\w+)\s*\(", code[start:place])
    return f"the `{{` in line {_line(code, place)}" + (f", of `{names[-1]}`," if names else "")


def _line(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


def _piece(text: str, code: str, start: int, brace: int) -> Piece:
    """The piece at the end of the code. `brace` is the last that is in no other."""
    shell, fuller = code[start:], ""
    while shell != fuller:  # take out what stands in brackets
        fuller, shell = shell, _INSIDE.sub("", shell)
    if function := re.search(r"(\w+)\s*\(\)\s*(?:const\b|noexcept\b|\s)*\{\}$", shell):
        defines, body = [function[1]], brace + 1
    else:
        defines, body = re.findall(r"([A-Za-z_]\w*)\s*(?=[\[({;,]|:(?!:))", re.sub(r"=[^,;]*", " ", shell)), 0
    anything = shell.startswith("using namespace")
    names = frozenset() if anything else frozenset(defines) - _WORDS
    return Piece(text, start, len(code), body, names, frozenset(_NAME.findall(code, start)))


def find(text: str, name: str) -> Piece:
    """The definition of function `name`. Raises `NotFound` with a sentence."""
    for piece in pieces(text):
        if piece.body and name in piece.defines:
            return piece
    raise NotFound(f"there is no definition of `{name}`")


def stub(function: Piece, note: str) -> str:
    """The function with an empty body, which compiles and does nothing; `note` stands in it as a comment."""
    result, _ = signature(function)
    nothing = "" if re.search(r"\bvoid\b", result) else "\n    return {};"
    return f"{function.text[function.start : function.body]}\n    // {note}{nothing}\n}}"


# ---- a part of a file


def own(text: str, wanted: Iterable[str], others: Iterable[str] = ()) -> str:
    """The text with all blanked that the definitions of `wanted` do not need, and the functions `others`.

    What is left stays in its line. A piece that defines nothing by name (`using namespace`, an unnamed namespace) may
    do anything and counts as needed, and so does whatever a macro mentions. Preprocessor lines stay, but macros that
    nothing below uses: the engine's text comes next.
    """
    wanted = set(wanted)
    every = [each for each in pieces(text) if not (each.body and each.defines & set(others))]
    macros = {match.start(): match.group() for match in _SKIPPED.finditer(text) if _MACRO.match(match.group())}
    kept, names, end = [], wanted, 0
    while more := [each for each in every if each not in kept and _is_needed(each, kept, names)]:
        kept += more
        end = max(each.end for each in kept)
        names = wanted.union(*(_NAME.findall(macro) for start, macro in macros.items() if start < end))
    gone = [(each.start, each.source) for each in pieces(text) if each not in kept]
    for start, source in [*gone, *((start, macro) for start, macro in macros.items() if start >= end)]:
        text = text[:start] + _blanks(source) + text[start + len(source) :]
    return text


@lru_cache(maxsize=64)  # a failing check tries the same mistakes each time
def without_launchers(text: str, user: str) -> str:
    """The text with all launchers blanked that nothing else in it names, nor another text, and the functions that only
    these need. What is left stays in its line."""
    rest, gone, asked = list(pieces(text)), [], frozenset(_NAME.findall(user))
    while found := [each for each in rest if _is_left_over(each, rest, gone, asked)]:
        rest, gone = [each for each in rest if each not in found], gone + found
    for each in gone:
        text = text[: each.start] + _blanks(each.source) + text[each.end :]
    return text


def _is_left_over(piece: Piece, rest: list[Piece], gone: list[Piece], asked: Set[str]) -> bool:
    if not piece.body or not (LAUNCHER in piece.source or any(piece.defines & each.uses for each in gone)):
        return False
    return not (piece.defines & asked or any(piece.defines & each.uses for each in rest if each is not piece))


def _is_needed(piece: Piece, kept: list[Piece], names: Set[str]) -> bool:
    """Whether the kept pieces, or one of the names, need the piece. A constant or a type must stand above what uses it:
    one below is another function's, and may have the name of one of the engine's."""
    if not piece.defines or piece.defines & names:
        return True
    users = [each for each in kept if piece.body or piece.start < each.start]
    return any(piece.defines & each.uses for each in users) or any(piece.defines & each.defines for each in kept)


# ---- signatures


def signature(function: Piece) -> tuple[str, list[str]]:
    """What stands before the function's name, and the types of its parameters ("... = default" where it has one).

    Left out is what a caller need not know: names of parameters, `const` on a copy, `__restrict__`, `inline` and such.
    """
    head = function.head
    call = re.search(rf"\b{min(function.defines)}\s*\(", head)
    assert call is not None
    before = re.sub(r"__launch_bounds__\s*\([^()]*(?:\([^()]*\)[^()]*)*\)", " ", head[: call.start()])
    before = re.sub(r"\b(?:static|inline|__forceinline__|__noinline__|constexpr)\b", " ", before)
    parameters = [
        part for part in split_top_level(head[call.end() : head.rindex(")")]) if part.strip() not in ("", "void")
    ]
    return " ".join(before.split()), [_type(part) for part in parameters]


def _type(parameter: str) -> str:
    declared, is_default, _ = parameter.partition("=")
    words = re.findall(r"[\w:]+|[^\w\s:]", re.sub(r"\b(?:__restrict__|__restrict|restrict)\b", " ", declared))
    if "[" in words:  # float x[4] and float x[] are float* x
        words = [*words[: words.index("[") - 1], "*"]
    elif len(words) > 1 and re.fullmatch(r"\w+", words[-1]) and not _TYPE.fullmatch(words[-1]):
        words = words[:-1]
    first_mark = next((i for i, word in enumerate(words) if word in "*&"), None)
    if first_mark is None:
        words = [word for word in words if word != "const"]
    else:
        words = [*sorted(words[:first_mark]), *words[first_mark:]]
    return re.sub(r" (?=[*&])", "", " ".join(words)) + (" = default" if is_default else "")
