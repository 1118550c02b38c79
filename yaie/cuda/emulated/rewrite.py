"""Turns CUDA C++ into C++ that g++ and clang++ accept, line for line.

Four things in a ``.cu`` file are not C++: launches with ``<<< >>>``, ``__shared__`` arrays, the built-in
index variables, and whatever the emulator refuses. A small tokenizer finds them; everything else, layout
included, stays as it was written, so that compiler messages and findings name the file's own lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..launchers import Launcher
from ..source import TOKEN, SourceError, is_code, split_top_level, where_line
from .unsupported import COVERED_HEADERS, ENDS_PROGRAM, MAPPED_HEADERS, REFUSED_HEADERS, REFUSED_NAMES, refusal

ALIGNMENT = re.compile(r"(?:__align__|alignas|__attribute__)\s*\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)")
BUILT_IN = {"threadIdx", "blockIdx", "blockDim", "gridDim"}


@dataclass
class Rewritten:
    """C++ text of one file, and the local headers that it includes (rewritten too, by their place on disk)."""

    text: str
    includes: list[Path] = field(default_factory=list)


class Rewriter:
    def __init__(self, source: str, file: Path) -> None:
        self.source, self.file = source, file
        self.tokens = [m.group() for m in TOKEN.finditer(source)]
        self.code = [is_code(t) for t in self.tokens]
        self.includes: list[Path] = []

    def run(self, header_name: Callable[[Path], str]) -> str:
        """``header_name`` gives the name under which a rewritten local header will lie."""
        self._rewrite_includes(header_name)
        self._mark_refused()
        self._rewrite_ends()
        self._rewrite_built_ins()
        i = 0
        while i < len(self.tokens):
            if self.code[i]:
                if self.tokens[i] == "<<<":
                    self._rewrite_launch(i)
                elif self.tokens[i] == "__shared__":
                    self._rewrite_shared(i)
            i += 1
        return "".join(self.tokens)

    # ---- moving about

    def _line(self, i: int) -> int:
        return 1 + sum(t.count("\n") for t in self.tokens[:i])

    def _fail(self, i: int, message: str) -> None:
        file, line = where_line(self.source, self._line(i), self.file)
        raise SourceError(message, Path(file), line)

    def _previous(self, i: int) -> int:
        i -= 1
        while i >= 0 and not self.code[i]:
            i -= 1
        return i

    def _next(self, i: int) -> int:
        i += 1
        while i < len(self.tokens) and not self.code[i]:
            i += 1
        return i

    def _replace(self, first: int, last: int, text: str) -> None:
        """Replaces tokens first..last by text; keeps their line breaks (and a macro's continuations)."""
        old = "".join(self.tokens[first : last + 1])
        breaks = "".join(
            re.findall(r"\\\n|\n", re.sub(r"/\*.*?\*/|//[^\n]*", lambda m: "\n" * m[0].count("\n"), old, flags=re.S))
        )
        self.tokens[first] = text + breaks
        self.code[first] = False
        for k in range(first + 1, last + 1):
            self.tokens[k], self.code[k] = "", False

    # ---- includes

    def _rewrite_includes(self, header_name: Callable[[Path], str]) -> None:
        for i, token in enumerate(self.tokens):
            if token != "#" or not self.code[i] or self.tokens[self._next(i)] != "include":
                continue
            first = self._next(i)
            last = first
            while last + 1 < len(self.tokens) and "\n" not in self.tokens[last + 1]:
                last += 1
            text = "".join(self.tokens[first + 1 : last + 1]).split("//")[0].strip()
            self._rewrite_include(i, last, text, header_name)

    def _rewrite_include(self, first: int, last: int, text: str, header_name: Callable[[Path], str]) -> None:
        name = text.strip('<>"')
        local = (self.file.parent / name).resolve()
        if text.startswith('"') and local.is_file():
            self.includes.append(local)
            self._replace(first, last, f'#include "{header_name(local)}"')
        elif name in COVERED_HEADERS:
            self._replace(first, last, "")
        elif name in MAPPED_HEADERS:
            self._replace(first, last, f"#include <{MAPPED_HEADERS[name]}>")
        else:
            for prefix, what in REFUSED_HEADERS.items():
                if name.startswith(prefix) and not name.startswith("cuda/std/"):
                    self._replace(first, last, f'#pragma GCC error "{refusal(what)}"')
                    return
        for k in range(first, last + 1):
            self.code[k] = False

    def _mark_refused(self) -> None:
        for i, token in enumerate(self.tokens):
            if self.code[i] and token in REFUSED_NAMES:
                message = refusal(REFUSED_NAMES[token]).replace('"', r"\"")
                self.tokens[i] = f'_Pragma("GCC error \\"{message}\\"") {token}'

    def _rewrite_ends(self) -> None:
        """Calls of exit() and abort() become findings. A declaration (after a type) and a method are left alone."""
        for i, token in enumerate(self.tokens):
            if not self.code[i] or token not in ENDS_PROGRAM or self.tokens[self._next(i)] != "(":
                continue
            before = self.tokens[self._previous(i)] if self._previous(i) >= 0 else ""
            if before in (".", ">", "*", "&") or (before.isidentifier() and before not in ("else", "do", "return")):
                continue
            self.tokens[i] = f'emu::Ends{{"{token}()", emu::Site::here()}}'
            self.code[i] = False

    # ---- threadIdx and its kin

    def _rewrite_built_ins(self) -> None:
        own_names = self._scopes_with_own_names()
        for i, token in enumerate(self.tokens):
            if not self.code[i] or token not in BUILT_IN:
                continue
            if any(name == token and first <= i <= last for name, first, last in own_names):
                continue
            if self.tokens[self._previous(i)] in (".", "::"):
                continue
            self.tokens[i] = f"emu_{token}()"

    def _scopes_with_own_names(self) -> list[tuple[str, int, int]]:
        """Host code likes to call its own variables gridDim and blockDim: where those are declared, they are theirs."""
        scopes = []
        for i, token in enumerate(self.tokens):
            if self.code[i] and token in ("dim3", "uint3"):
                names = self._declared_after(i)
                scopes += [(name, i, self._end_of_scope(i)) for name in names]
        return scopes

    def _declared_after(self, i: int) -> list[str]:
        names, depth, expect = [], 0, True
        k = self._next(i)
        while k < len(self.tokens):
            t = self.tokens[k]
            depth += (t in "([{") - (t in ")]}")
            if depth < 0 or (depth == 0 and t == ";"):
                break
            if depth == 0 and expect and t in BUILT_IN:
                names.append(t)
            expect = (depth == 0 and t == ",") or (expect and t in ("&", "const", "*"))
            k = self._next(k)
        return names

    def _end_of_scope(self, i: int) -> int:
        depth, k, in_parameters = 0, i, False
        while k < len(self.tokens):
            if self.code[k]:
                t = self.tokens[k]
                in_parameters |= t == ")" and self._unbalanced_before(k, i)
                depth += (t == "{") - (t == "}")
                if depth < 0 or (depth == 0 and t == "}" and in_parameters):
                    return k
            k += 1
        return k

    def _unbalanced_before(self, k: int, i: int) -> bool:
        between = [self.tokens[q] for q in range(i, k + 1) if self.code[q]]
        return between.count(")") > between.count("(")

    # ---- kernel<<<grid, block, shared, stream>>>(arguments)

    def _rewrite_launch(self, i: int) -> None:
        first, end = self._kernel_expression(i)
        close = self._closing_angles(i)
        name = "".join(self.tokens[first : end + 1])
        configuration = "".join(self.tokens[i + 1 : close])
        plain = re.sub(r"\s+", " ", name).replace('"', "'")
        text = (
            f'::emu::launch("{plain}", [=](auto... emu_arguments) {{ {name}(emu_arguments...); }}, '
            f"::emu::Site::here(), {configuration})"
        )
        line_breaks = "".join(self.tokens[first : close + 3]).count("\n") - text.count("\n")
        continued = "\\\n" in configuration
        self.tokens[first] = text + ("\\\n" if continued else "\n") * line_breaks
        for k in range(first, close + 3):
            self.code[k] = False
            if k > first:
                self.tokens[k] = ""

    def _kernel_expression(self, i: int) -> tuple[int, int]:
        first = end = self._previous(i)
        if self.tokens[first] == ">":
            first = self._opening_angle(first)
            first = self._previous(first)
        while self.tokens[self._previous(first)] == ":":
            first = self._previous(self._previous(self._previous(first)))
        if self.tokens[first] == ")":
            self._fail(i, "name the kernel directly before <<<; the emulator cannot read a parenthesised kernel")
        return first, end

    def _opening_angle(self, k: int) -> int:
        depth, parens = 0, 0
        start = k
        while k >= 0:
            t = self.tokens[k]
            parens += (t in ")]}") - (t in "([{")
            if parens == 0:
                depth += (t == ">") - (t == "<")
                if depth == 0:
                    return k
            k = self._previous(k)
        self._fail(start, "cannot find the < that belongs to this >")
        return -1

    def _closing_angles(self, i: int) -> int:
        depth, k = 0, i + 1
        while k + 2 < len(self.tokens):
            t = self.tokens[k]
            if self.code[k]:
                if depth == 0 and self.tokens[k : k + 3] == [">", ">", ">"]:
                    return k
                depth += (t in "([{") - (t in ")]}")
            k += 1
        self._fail(i, "<<< without >>>")
        return -1

    # ---- __shared__

    def _rewrite_shared(self, i: int) -> None:
        first = self._first_of_statement(i)
        last = i
        while last < len(self.tokens) and not (self.code[last] and self.tokens[last] == ";"):
            last += 1
        if last == len(self.tokens):
            self._fail(i, "a __shared__ declaration without ;")
        words = "".join(t if self.code[k] or t.isspace() else " " for k, t in enumerate(self.tokens[first:last], first))
        declaration = re.sub(r"\b(?:__shared__|static)\b", " ", ALIGNMENT.sub(" ", words)).replace("\\\n", " ")
        align = max([int(n) for n in re.findall(r"(?:__align__|alignas|aligned)\s*\(+\s*(\d+)", words)], default=0)
        if re.search(r"\bextern\b", declaration):
            text = self._dynamic_array(i, re.sub(r"\bextern\b", " ", declaration).strip())
        else:
            text = self._static_arrays(i, " ".join(declaration.split()), align)
        self._replace(first, last - 1, text)

    def _first_of_statement(self, i: int) -> int:
        first = i
        while True:
            k = self._previous(first)
            if k < 0:
                return first
            if self.tokens[k] in ("extern", "static", "volatile", "const", "alignas", "__align__"):
                first = k
            elif self.tokens[k] == ")" and self.tokens[self._before_parens(k)] in ("alignas", "__align__"):
                first = self._before_parens(k)
            else:
                return first

    def _before_parens(self, k: int) -> int:
        depth = 0
        while k >= 0:
            depth += (self.tokens[k] == ")") - (self.tokens[k] == "(")
            k = self._previous(k)
            if depth == 0:
                return k
        return 0

    def _dynamic_array(self, i: int, declaration: str) -> str:
        match = re.match(r"^(.*?)\b(\w+)\s*\[\s*\]$", declaration, re.S)
        if not match:
            self._fail(
                i, f"the emulator cannot read `extern __shared__ {declaration}`; write `extern __shared__ T name[];`"
            )
        element, name = match[1].strip(), match[2]
        if self._is_file_scope(i):
            return f'static const ::emu::DynamicShared<{element}> {name}{{"{name}"}}'
        return f'{element}* const {name} = reinterpret_cast<{element}*>(emu_dynamic_shared("{name}"))'

    def _is_file_scope(self, i: int) -> bool:
        in_namespace: list[bool] = []  # one entry for each open brace
        for k in range(i):
            if self.code[k] and self.tokens[k] == "{":
                in_namespace.append(self._opens_namespace(k))
            elif self.code[k] and self.tokens[k] == "}" and in_namespace:
                in_namespace.pop()
        return all(in_namespace)

    def _opens_namespace(self, k: int) -> bool:
        before = self._previous(k)
        return (
            self.tokens[before] == "namespace"
            or self.tokens[self._previous(before)] == "namespace"
            or (self.tokens[before] == "extern")
        )

    def _static_arrays(self, i: int, declaration: str, align: int) -> str:
        parts = split_top_level(declaration)
        head = re.match(r"^(.*?[\s*&>])(\w+)\s*((?:\[.*\])*)$", parts[0].strip(), re.S)
        if not head or "=" in declaration:
            self._fail(i, f"the emulator cannot read `__shared__ {declaration}`; write `__shared__ T name[size];`")
        element = head[1].strip()
        texts = []
        for part in [head[2] + head[3], *parts[1:]]:
            match = re.match(r"^\s*(\w+)\s*((?:\[.*\])*)\s*$", part, re.S)
            if not match:
                self._fail(i, f"the emulator cannot read `{part.strip()}` in this __shared__ declaration")
            name, shape = match[1], match[2]
            key = "[]{ static char key; return &key; }()"  # one per instance of a template
            array = f"::emu::shared<{element} {shape}, {max(align, 16)}>"
            texts.append(f'auto& {name} = {array}({key}, "{name}", ::emu::Site::here())')
        return "; ".join(texts)


def rewrite(source: str, file: Path, header_name: Callable[[Path], str]) -> Rewritten:
    """Rewrites one file. ``header_name(path)`` names the rewritten copy of a local header."""
    rewriter = Rewriter(source, file)
    text = rewriter.run(header_name)
    return Rewritten(f'#line 1 "{file}"\n{text}', rewriter.includes)


def call_wrappers(launchers: Iterable[Launcher]) -> str:
    """C functions that call each launcher with arguments given by address, so that the runtime can guard the call."""
    lines = ['\n#line 1 "yaie-launchers"']
    for f in launchers:
        arguments = ", ".join(f"*static_cast<{p.declared}*>(arguments[{i}])" for i, p in enumerate(f.parameters))
        call = f"{f.name}({arguments});"
        body = f"{call} return 0;" if f.returns == "void" else f"return static_cast<int>({call[:-1]});"
        lines.append(f'extern "C" int emu_call_{f.name}([[maybe_unused]] void** arguments) {{ {body} }}')
    return "\n".join(lines) + "\n"
