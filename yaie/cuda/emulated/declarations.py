"""What a file declares at its top level and in its classes: functions with their CUDA attributes, and variables.

Not a parser of C++: it finds where each declaration begins and ends, what is a parameter list and what a body, which
is all that the rewriting and nvcc's rules need.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .words import Words, is_name

ATTRIBUTES = {"__global__", "__device__", "__host__"}
# Names that a parenthesis may follow in a declaration without being the function's.
NOT_FUNCTIONS = {
    "__attribute__", "__attribute", "alignas", "decltype", "typeof", "noexcept", "explicit", "requires", "__declspec",
    "sizeof", "throw", "static_assert", "asm", "__asm__",
}  # fmt: skip
CLASSES = {"class", "struct", "union"}


@dataclass(frozen=True)
class Function:
    """A declaration of a function; ``body`` is where its braces are, (-1, -1) if it is defined elsewhere."""

    name: str
    first: int
    at: int  # its name
    parameters: tuple[int, int]  # their parentheses
    body: tuple[int, int]
    attributes: frozenset[str]
    constant: bool  # constexpr or consteval
    in_class: bool

    @property
    def is_kernel(self) -> bool:
        return "__global__" in self.attributes

    @property
    def on_device(self) -> bool:
        return not self.attributes.isdisjoint({"__global__", "__device__"})

    @property
    def on_device_only(self) -> bool:
        return self.on_device and "__host__" not in self.attributes


@dataclass(frozen=True)
class Variable:
    """A declaration of variables outside of functions, first..last without its semicolon."""

    first: int
    last: int
    in_class: bool


@dataclass
class Declarations:
    functions: list[Function] = field(default_factory=list)
    variables: list[Variable] = field(default_factory=list)


def find_declarations(words: Words) -> Declarations:
    found = Declarations()
    _Scope(words, found, False).read(0, len(words))
    return found


class _Scope:
    def __init__(self, words: Words, found: Declarations, in_class: bool) -> None:
        self.words, self.found, self.in_class = words, found, in_class

    def read(self, first: int, end: int) -> None:
        words, start, i = self.words, first, first
        while i < end:
            word = words[i]
            if word == ";":
                self._ended(start, i)
                start = i + 1
            elif word == "template" and words[i + 1] == "<":
                i = max(words.end_of_angles(i + 1), i)
            elif word == ":" and i == start + 1 and words[start] in ("public", "private", "protected"):
                start = i + 1
            elif word == "{":
                close = words.pair[i]
                if self._opened(start, i, close):
                    start = close + 1
                i = close
            elif word in ("(", "["):
                i = words.pair[i]
            i += 1

    def _opened(self, start: int, brace: int, close: int) -> bool:
        """Reads a declaration up to its brace; whether it ends with the brace that closes it."""
        words, head = self.words, list(self._head(start, brace))
        texts = [words[i] for i in head]
        is_linkage = len(texts) == 2 and texts[0] == "extern" and texts[1][0] == '"'
        if "namespace" in texts or is_linkage:
            self.read(brace + 1, close)
            return True
        parameters = self._parameter_list(head)
        if parameters is not None:
            return self._function(start, head, parameters, brace, close)
        if not CLASSES.isdisjoint(texts) and "=" not in texts:
            _Scope(words, self.found, True).read(brace + 1, close)
        return False  # a class, an enumeration or a variable: its semicolon follows

    def _head(self, start: int, end: int) -> Iterator[int]:
        """The top-level words start..end-1, without a template's parameters."""
        i = start
        while i < end:
            word = self.words[i]
            if word == "template" and self.words[i + 1] == "<":
                i = max(self.words.end_of_angles(i + 1), i) + 1
                continue
            yield i
            i = self.words.pair[i] + 1 if word and word in "([{" else i + 1

    def _parameter_list(self, head: list[int]) -> int | None:
        """Where the parenthesis of a function's parameters opens; None in the head of anything else."""
        words = self.words
        for n, i in enumerate(head):
            if words[i] == "=":
                return None
            if words[i] != "(" or n == 0:
                continue
            before = words[i - 1]
            named = (is_name(before) and before not in NOT_FUNCTIONS) or before in (">", "]")
            if named or any(words[k] == "operator" for k in head[:n]):  # `operator const T*()`, `operator+()`
                following = words.pair[i] + 1
                if before == "operator" and words[following] == "(":
                    return following  # operator()(...)
                return i
        return None

    def _function(self, start: int, head: list[int], opened: int, brace: int, close: int) -> bool:
        words = self.words
        after = [i for i in head if i > words.pair[opened]]
        starts_initialisers = any(words[i] == ":" for i in after)
        if starts_initialisers and words[brace - 1] not in (")", "}"):
            return False  # a member's braces: `: a{1} {`
        self._add(start, head, opened, (brace, close))
        return True

    def _add(self, start: int, head: list[int], opened: int, body: tuple[int, int]) -> None:
        words = self.words
        at = self._name_before(opened)
        texts = {words[i] for i in head if i < opened}
        self.found.functions.append(
            Function(
                words[at],
                start,
                at,
                (opened, words.pair[opened]),
                body,
                frozenset(texts & ATTRIBUTES),
                not texts.isdisjoint({"constexpr", "consteval"}),
                self.in_class,
            )
        )

    def _name_before(self, opened: int) -> int:
        """The function's name: before its parenthesis, or before the template arguments of a specialisation."""
        i = opened - 1
        if self.words[i] == ">":
            depth = 0
            while i > 0:
                depth += (self.words[i] == ">") - (self.words[i] == "<")
                i -= 1
                if depth == 0:
                    break
        return i

    def _ended(self, start: int, end: int) -> None:
        """Reads a declaration that ends with a semicolon."""
        head = list(self._head(start, end))
        texts = {self.words[i] for i in head}
        if not head or not texts.isdisjoint({"using", "typedef", "friend", "static_assert", "namespace"}):
            return
        opened = self._parameter_list(head)
        if opened is not None:
            self._add(start, head, opened, (-1, -1))
        elif len(head) > 1:
            self.found.variables.append(Variable(head[0], end - 1, self.in_class))
