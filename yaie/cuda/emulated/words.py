"""The words of preprocessed C++, and changes to them that leave every line where it was.

The compiler's own preprocessor runs first, so here are no comments, macros, continuations or conditionals any more;
what is left of it are markers (`# 12 "file" 3`), which say where the lines come from. What comes from headers of the
system is passed on unread, unless it holds words of CUDA.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from ..source import MARKER, SourceError, preprocessed_parts, unquoted

SPEAKS_CUDA = re.compile(r"__(?:global|device|host|shared|constant|managed)__")
TOKEN = re.compile(
    r"(?P<line>^[ \t]*#[^\n]*)"
    r'|(?P<string>(?:u8|[uUL])?(?:R"(?P<end>[^()\\\s]*)\((?s:.*?)\)(?P=end)"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'))'
    r"|(?P<name>[^\W\d]\w*)"
    r"|(?P<number>\.?\d(?:[eEpP][+-]|[\w.]|'\w)*)"
    r"|(?P<space>\s+)"
    r"|(?P<mark><<[ \t]*<(?!<)|\.\.\.|<<=?|[<>=!+\-*/%&|^]=|->|::|&&|\|\||\+\+|--|.)",
    re.M,
)
OPENS, CLOSES = "([{", ")]}"


class Words:
    """``words[i]`` is the i-th word; white space and the preprocessor's lines are kept, and are no words.

    Changes are collected (`before`, `after`, `instead`) and take effect in `text`.
    """

    def __init__(self, preprocessed: str, file: Path) -> None:
        self.file = file
        self.words: list[str] = []
        self._pieces: list[str] = []  # all of the text
        self._piece: list[int] = []  # of each word
        self._cut(preprocessed)
        self._before: dict[int, str] = {}
        self._after: dict[int, str] = {}
        self._instead: dict[int, str] = {}
        self.pair = self._pairs()

    def _cut(self, text: str) -> None:
        for part, of_system in preprocessed_parts(text):
            if of_system and not SPEAKS_CUDA.search(part):
                self._pieces.append(part)
                continue
            for match in TOKEN.finditer(part):
                if match.lastgroup not in ("line", "space"):
                    self._piece.append(len(self._pieces))
                    launch = match[0].startswith("<<") and match[0] != "<<" and match[0].endswith("<")
                    self.words.append("<<<" if launch else match[0])
                self._pieces.append(match[0])

    def _pairs(self) -> dict[int, int]:
        """The bracket that belongs to each bracket."""
        pair: dict[int, int] = {}
        opened: list[int] = []
        for i, word in enumerate(self.words):
            if word in OPENS:
                opened.append(i)
            elif word in CLOSES:
                if not opened or OPENS.index(self.words[opened[-1]]) != CLOSES.index(word):
                    opener = f"; the last one open is {self.words[opened[-1]]}" if opened else ""
                    self.fail(i, f"this {word} closes nothing{opener}")
                pair[i] = opened.pop()
                pair[pair[i]] = i
        if opened:
            self.fail(opened[-1], f"this {self.words[opened[-1]]} is never closed")
        return pair

    def __getitem__(self, i: int) -> str:
        return self.words[i] if 0 <= i < len(self.words) else ""

    def __len__(self) -> int:
        return len(self.words)

    # ---- where, and what is wrong there

    def place(self, i: int) -> tuple[str, int]:
        """File and line of a word."""
        return self._places[i]

    def on_line(self, file: str, line: int) -> list[int]:
        """The words on a line of a file."""
        return [i for i, place in enumerate(self._places) if place == (file, line)]

    @functools.cached_property
    def _places(self) -> list[tuple[str, int]]:
        places, words = [], set(self._piece)
        file, line = str(self.file), 1
        for n, piece in enumerate(self._pieces):
            if n in words:
                places.append((file, line))
            if markers := list(MARKER.finditer(piece)) if "#" in piece else []:
                file, line = unquoted(markers[-1][2]), int(markers[-1][1]) - 1
                piece = piece[markers[-1].end() :]
            line += piece.count("\n")
        return places

    def fail(self, i: int, message: str, unsupported: bool = False) -> NoReturn:
        file, line = self.place(i)
        raise SourceError(message, Path(file), line, unsupported)

    # ---- changes

    def before(self, i: int, text: str) -> None:
        self._before[i] = text + self._before.get(i, "")

    def after(self, i: int, text: str) -> None:
        self._after[i] = self._after.get(i, "") + text

    def instead(self, i: int, text: str) -> None:
        self._instead[i] = text

    def remove(self, first: int, last: int) -> None:
        """White space stays, and with it the lines."""
        for i in range(first, last + 1):
            self._instead[i] = ""
            self._before.pop(i, None)
            self._after.pop(i, None)

    def now(self, i: int) -> str:
        """A word with the changes made so far."""
        return self._before.get(i, "") + self._instead.get(i, self.words[i]) + self._after.get(i, "")

    def span(self, first: int, last: int) -> str:
        """The words first..last as they are now, on one line."""
        return " ".join(filter(None, (self.now(i) for i in range(first, last + 1))))

    def plain(self, first: int, last: int) -> str:
        """The words first..last as they were written, for people."""
        text = ""
        for i in range(first, last + 1):
            gap = self._pieces[self._piece[i - 1] + 1 : self._piece[i]] if i > first else []
            text += (" " if any(g.isspace() or g.startswith("\n") for g in gap) else "") + self.words[i]
        return text

    def text(self) -> str:
        pieces = list(self._pieces)
        for i in self._before.keys() | self._after.keys() | self._instead.keys():
            pieces[self._piece[i]] = self.now(i)
        return "".join(pieces)

    # ---- moving about

    def top_level(self, first: int, last: int) -> Iterator[int]:
        """The words first..last that are in no bracket; of brackets, the opening ones."""
        i = first
        while i <= last:
            yield i
            i = self.pair[i] + 1 if self[i] and self[i] in OPENS else i + 1

    def split(self, first: int, last: int) -> list[tuple[int, int]]:
        """The parts of first..last between top-level commas; angle brackets count as brackets."""
        parts, start, depth = [], first, 0
        for i in self.top_level(first, last):
            depth += (self[i] == "<") - (self[i] == ">")
            if self[i] == "," and depth <= 0:
                parts.append((start, i - 1))
                start = i + 1
        return [*parts, (start, last)] if first <= last else []

    def end_of_angles(self, i: int) -> int:
        """The > that closes the < at i (of a template's parameters or arguments), or -1 if it closes nowhere near."""
        depth, k = 0, i
        while k < len(self):
            word = self[k]
            if word in OPENS:
                k = self.pair[k]
            elif word in (";", *CLOSES):
                return -1
            depth += (word == "<") - (word == ">")
            if depth == 0:
                return k
            k += 1
        return -1


def is_name(word: str) -> bool:
    return word[:1].isalpha() or word[:1] == "_"
