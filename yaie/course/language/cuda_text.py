"""Read CUDA C++ as text: find a function by its name and braces, take its body out, see what else a file defines.

No C++ parser: comments, strings and preprocessor lines are blanked, then braces are counted. That is enough for the
files in `csrc/`, where a function is defined once, at the top level or in a namespace.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

_SKIPPED = re.compile(
    r"""//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|^[ \t]*\#(?:\\\n|[^\n])*""",
    re.DOTALL | re.MULTILINE,
)
HOLE = re.compile(r"\s*(?:return\s*\{\s*\}\s*;)?\s*")
_NAME = re.compile(r"[A-Za-z_]\w*")
_DIRECTIVE = re.compile(r"^[ \t]*\#(?:\\\n|[^\n])*", re.MULTILINE)
# Words that stand in definitions without naming what is defined.
_WORDS = frozenset(
    """
    alignas auto bool char class const constexpr decltype double enum explicit extern float inline int int8_t int16_t
    int32_t int64_t long namespace noexcept operator register restrict short signed size_t static static_assert struct
    template typedef typename uint8_t uint16_t uint32_t uint64_t union unsigned using virtual void volatile dim3
    __constant__ __device__ __forceinline__ __global__ __host__ __launch_bounds__ __noinline__ __restrict__ __shared__ C
    cudaStream_t half __half half2 __half2 __nv_bfloat16 nv_bfloat16 float2 float4 int2 int4 uint4
    """.split()  # noqa: SIM905
)


class NotFound(LookupError):
    """The text has no such function, or its braces do not match; a sentence says which."""


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


def check_braces(text: str) -> None:
    """Raise `NotFound` with a sentence where a brace of the text has no partner."""
    code, open_at = blanked(text), []
    for match in re.finditer(r"[{}]|\b__global__\b", code):
        line = code.count("\n", 0, match.start()) + 1
        if match.group() == "{":
            open_at.append(match.start())
        elif match.group() == "}" and open_at:
            open_at.pop()
        elif match.group() == "}":
            raise NotFound(f"the `}}` in line {line} closes nothing")
        elif open_at and "namespace" not in _before(code, open_at[0]) and "extern" not in _before(code, open_at[0]):
            raise NotFound(f"{_opened(code, open_at[0])} is not closed before the next function, in line {line}")
    if open_at:
        raise NotFound(f"{_opened(code, open_at[0])} is never closed")


def _before(code: str, place: int) -> str:
    """What stands between the end of the piece before and a brace."""
    return code[max(code.rfind(mark, 0, place) for mark in ";{}") + 1 : place]


def _opened(code: str, place: int) -> str:
    names = re.findall(r"(\w+)\s*\(", _before(code, place))
    where = f", of `{names[-1]}`," if names else ""
    return f"the `{{` in line {code.count(chr(10), 0, place) + 1}{where}"


def is_hole(text: str, function: Function) -> bool:
    """True while nothing but comments (and `return {};`) stands in the body."""
    return HOLE.fullmatch(blanked(text)[function.body : function.end - 1]) is not None


def stub(text: str, function: Function, note: str) -> str:
    """The function with an empty body, which compiles and does nothing; `note` stands in it as a comment."""
    signature = text[function.start : function.body]
    returns_nothing = re.search(r"\bvoid\b", blanked(signature).partition(function.name)[0])
    nothing = "" if returns_nothing else "\n    return {};"
    return f"{signature}\n    // {note}{nothing}\n}}"


# ---- what else stands at the top level of a file


@dataclass(frozen=True)
class Piece:
    """A definition or declaration at the top level: text[start:end]. `defines` are the names that it may define."""

    start: int
    end: int
    defines: frozenset[str]
    uses: frozenset[str]


def pieces(text: str) -> list[Piece]:
    """Everything at the top level of the text, preprocessor lines left out, in order."""
    code, found, depth, start = blanked(text), [], 0, None
    for place, character in enumerate(code):
        if start is None:
            if character.isspace() or character == ";":
                continue
            start = place
        depth += (character in "{(") - (character in "})")
        ends_function = character == "}" and not _goes_on(code, place + 1)
        if depth <= 0 and (character == ";" or ends_function):
            found.append(_piece(code, start, place + 1))
            start, depth = None, 0
    if start is not None:
        found.append(_piece(code, start, len(code.rstrip())))
    return found


def _goes_on(code: str, place: int) -> bool:
    """Whether what a `}` closes was not a function body but a struct or a list of values: a `;` or `,` comes next."""
    return code[place:].lstrip()[:1] in tuple(";,)(")


def _piece(code: str, start: int, end: int) -> Piece:
    depth, outside = 0, []
    for character in code[start:end]:
        depth -= character in "})"
        outside.append(character if depth == 0 else " ")
        depth += character in "{("
    text = "".join(outside)
    parameters = {name for each in re.findall(r"\btemplate\s*<([^>]*)>", text) for name in _NAME.findall(each)}
    defines = frozenset(_NAME.findall(text)) - _WORDS - parameters
    return Piece(start, end, defines, names_used(code[start:end]))


def names_used(code: str) -> frozenset[str]:
    """Every name in a piece of code, comments and strings left out."""
    return frozenset(_NAME.findall(blanked(code)))


def directives(text: str) -> list[re.Match[str]]:
    """The preprocessor lines of a text (continued lines are one), those in comments left out."""
    comments = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
    without = comments.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)
    return list(_DIRECTIVE.finditer(without))


def needed(text: str, wanted: Iterable[str], without: Iterable[int] = ()) -> list[Piece]:
    """The pieces that define a name in `wanted`, and those that these need in turn, in the order of the text. Pieces
    that start at a place in `without` are left out.

    A piece that defines nothing by name (`using namespace`, an unnamed namespace) may do anything and counts as
    needed, and so does whatever a macro mentions.
    """
    without, names = set(without), set(wanted)
    rest = [piece for piece in pieces(text) if piece.start not in without]
    for directive in directives(text):
        if "define" in directive.group():
            names |= set(_NAME.findall(directive.group()))
    taken: list[Piece] = []
    while more := [each for each in rest if not each.defines or each.defines & names or _opens_a_namespace(text, each)]:
        taken += more
        rest = [piece for piece in rest if piece not in more]
        names = names.union(*(piece.uses for piece in more))
    return sorted(taken, key=lambda piece: piece.start)


def _opens_a_namespace(text: str, piece: Piece) -> bool:
    return text[piece.start : piece.end].startswith("using namespace")


def keep_only(text: str, kept: list[Piece]) -> str:
    """The text with every other piece blanked, so that all that is left stays in its line."""
    characters = list(text)
    for piece in pieces(text):
        if piece not in kept:
            blank(characters, piece.start, piece.end)
    return "".join(characters)


def blank(characters: list[str], start: int, end: int) -> None:
    """Put spaces for everything but line ends."""
    characters[start:end] = [character if character == "\n" else " " for character in characters[start:end]]


def leading_comment(text: str, start: int) -> str:
    """The `//` lines directly above the line in which `start` lies; empty where there are none."""
    lines = text[:start].split("\n")[:-1]
    first = len(lines)
    while first > 0 and lines[first - 1].lstrip().startswith("//"):
        first -= 1
    return "\n".join(lines[first:])


def normal(text: str) -> str:
    """The text without comments and with single spaces, to tell a change of code from a change of layout."""
    comments = re.compile(_SKIPPED.pattern, _SKIPPED.flags)
    kept = comments.sub(lambda match: " " if match.group().startswith(("//", "/*")) else match.group(), text)
    return " ".join(kept.split())


# ---- signatures


def signature(text: str, function: Function) -> tuple[str, list[str]]:
    """What stands before the function's name, and the types of its parameters ("... = default" where it has one).

    Left out is what a caller need not know: names of parameters, `const` on a copy, `__restrict__`, `inline` and such.
    """
    code = blanked(text[function.start : function.body - 1])
    call = re.search(rf"\b{re.escape(function.name)}\s*\(", code)
    assert call is not None
    before = re.sub(r"__launch_bounds__\s*\([^()]*(?:\([^()]*\)[^()]*)*\)", " ", code[: call.start()])
    before = re.sub(r"\b(?:static|inline|__forceinline__|__noinline__|constexpr)\b", " ", before)
    end = _closing(code, call.end() - 1, function.name) - 1
    parameters = [part for part in _split(code[call.end() : end]) if part.strip() not in ("", "void")]
    return " ".join(before.split()), [_type(part) for part in parameters]


def _split(text: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for place, character in enumerate(text):
        depth += (character in "<([{") - (character in ">)]}")
        if character == "," and depth == 0:
            parts.append(text[start:place])
            start = place + 1
    return [*parts, text[start:]]


def _type(parameter: str) -> str:
    declared, is_default, _ = parameter.partition("=")
    words = re.findall(r"[\w:]+|[^\w\s:]", re.sub(r"\b(?:__restrict__|__restrict|restrict)\b", " ", declared))
    array = "[" in words
    if array:  # float x[4] and float x[] are float* x
        words = [*words[: words.index("[") - 1], "*"]
    elif len(words) > 1 and re.fullmatch(r"\w+", words[-1]) and words[-1] not in _WORDS:
        words = words[:-1]
    first_mark = next((i for i, word in enumerate(words) if word in "*&"), None)
    if first_mark is None:
        words = [word for word in words if word != "const"]
    else:
        words = [*sorted(words[:first_mark]), *words[first_mark:]]
    return re.sub(r" (?=[*&])", "", " ".join(words)) + (" = default" if is_default else "")
