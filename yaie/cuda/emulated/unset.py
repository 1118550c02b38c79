"""Local variables that a compiler thinks are, or may be, used before they are set: where, and in whose code.

Compilers and their versions warn of the same variable on different lines: of its use, of a `+=` that hands the unset
value on, of an `if` that does not set it, or of the call that was inlined. They agree on where it is declared, and the
line of its use is looked up from there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from .declarations import Function
from .rewrite import Rewriter
from .words import Words

QUOTED = "[\u2018'](?P<name>[^\u2019']+)[\u2019']"
MESSAGE = re.compile(r"^(?P<file>[^\n]+?):(?P<line>\d+):\d+: (?P<kind>warning|note): (?P<text>.*)$", re.M)
WARNING = re.compile(rf".{{0,9}}?(?:variable )?{QUOTED} (?:is|may be) (?:used )?uninitialized")
DECLARED = re.compile(r"\S+(?: was)? declared here|initialize the variable ")
ASSIGNMENTS = {"=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>="}


@dataclass(frozen=True)
class Unset:
    """`callers` are the functions whose code holds it: the one it is in, and those that call that one."""

    file: str
    line: int
    name: str
    declared: int  # its line, 0 if not known
    callers: tuple[str, ...]


def unset_variables(stderr: str, rewriter: Rewriter) -> list[Unset]:
    found = {_located(*each, rewriter) for each in _warnings(stderr)}
    return sorted(found, key=lambda u: (u.file, u.line, u.name))


def _warnings(stderr: str) -> Iterator[tuple[str, tuple[str, int], tuple[str, int]]]:
    """Name, place of use and place of declaration (line 0 if none is said) of each warning and the notes below it."""
    messages = [(m["kind"], m["text"], (m["file"], int(m["line"]))) for m in MESSAGE.finditer(stderr)]
    for n, (kind, text, use) in enumerate(messages):
        warning = WARNING.match(text)
        if kind == "note" or not warning:
            continue
        declared = use[0], 0
        for kind, text, place in messages[n + 1 :]:
            if kind == "warning":
                break
            if text == "uninitialized use occurs here":
                use = place
            if DECLARED.match(text):
                declared = place
        yield warning["name"], use, declared


def _located(name: str, use: tuple[str, int], declared: tuple[str, int], rewriter: Rewriter) -> Unset:
    words = rewriter.words
    begin = next((i for i in words.on_line(*declared) if words[i] == name), -1)
    if begin < 0:
        return Unset(*use, name, 0, _callers(rewriter, next(iter(words.on_line(*use)), -1)))
    line = _line_of_use(words, begin, use[1] if use[0] == declared[0] else 0)
    return Unset(declared[0], line, name, declared[1], _callers(rewriter, begin))


def _line_of_use(words: Words, declared: int, line: int) -> int:
    """The compiler's line if the variable is used there, and else the first line after it with a use of it."""
    uses, i = [], declared + 1
    while i < len(words) and words[i] != "}":  # to the end of the block that it is declared in
        end = words.pair[i] if words[i] == "{" else i
        uses += [k for k in range(i, end + 1) if _is_use(words, k, words[declared])]
        i = end + 1
    lines = [words.place(k)[1] for k in uses]
    return next((n for n in lines if n >= line), next(iter(lines), line))


def _is_use(words: Words, i: int, name: str) -> bool:
    """Whether a word reads the variable; `sum += x` by itself only hands on what it holds."""
    if words[i] != name or words[i - 1] in (".", "->", "::"):
        return False
    return words[i + 1] not in ASSIGNMENTS and "++" not in (words[i - 1], words[i + 1])


def _callers(rewriter: Rewriter, i: int) -> tuple[str, ...]:
    """The functions whose code word i is, and all that name one of these."""
    functions = [f for f in rewriter.found.functions if f.body[0] >= 0]
    within = {f for f in functions if f.first <= i <= f.body[1]}

    def calls(function: Function) -> bool:
        names = {f.name for f in within}
        return any(rewriter.words[k] in names for k in range(*function.body))

    while callers := {f for f in functions if f not in within and calls(f)}:
        within |= callers
    return tuple(sorted({f.name for f in within}))
