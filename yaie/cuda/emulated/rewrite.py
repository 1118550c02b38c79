"""Turns CUDA C++ into C++ that g++ and clang++ accept, line for line.

The compiler preprocesses the file first, and what is rewritten is its output. So macros, line continuations,
conditional code and headers are the compiler's business, as they are nvcc's, and a launch in a macro is a launch like
any other. That costs one more run of the preprocessor: 12 ms of CPU time for a file of one kernel, as g++ takes our
header precompiled there too. With all else (compiling 0.07 s, linking 0.02 s) an edit of it is a finding after 0.2 s.

Why words and not a parser: most faults of the rewriting came from macros, conditionals and continuations, which a
parser of source text (tree-sitter has a grammar) does not expand either; and clang as a library would be a second
compiler to install beside the one that builds. Once the preprocessor has run, little is left to find, and each has a
simple grammar:

    k<T><<<g, b>>>(x)        (emu::Launch(g, b), k<T>(x)): a real call, so arguments convert as in C++
    __global__ void k(T x)   the body becomes a function of its own, which `k`, when it is called, launches
    __shared__ T a[n]        a reference to an array that the runtime lays out
    threadIdx                a call, in device code only: host code may use the names for its own
    for (...) x              for (...) if (emu::turn()) {} else x: accesses stay in their loop, and so on their line

Layout stays as it was written, so that compiler messages and findings name the file's own lines.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from ..launchers import Launcher
from ..source import quoted
from .declarations import Declarations, Function, Variable, find_declarations
from .rules import check_rules
from .unsupported import ENDS_PROGRAM, REFUSED_NAMES, refusal
from .words import Words, is_name

BUILT_IN = {"threadIdx", "blockIdx", "blockDim", "gridDim"}
# Variables of the device lie far apart, so that what lies between belongs to none. They are `used`, for no compiler
# reports reads of what it takes for constant; of a constexpr array none does. The linker sorts by alignment (build.py):
# the guards, one for each kind of section, come behind the last variable before what is the compiler's or the host's.
FAR_APART = "__attribute__((aligned(65536), used))"
MEMORIES = {"__device__", "__constant__", "__managed__"}
CONST_PREFIX = "emu_const_"  # module.cpp takes it off
GUARDS = """
# 1 "yaie-guards"
static __attribute__((aligned(32768), used)) const char emu_guard_1[32768] = {};
static __attribute__((aligned(32768), used)) char emu_guard_2[32768] = {1};
static __attribute__((aligned(32768), used)) char emu_guard_3[32768];
"""
NUMBER_TYPES = {"int", "float", "double", "char", "bool", "short", "long", "unsigned", "signed", "const"}
NO_TYPES = {"const", "volatile", "struct", "class", "typename"}
SILENT = {"__global__", "__device__", "__host__", "__managed__", "__grid_constant__"}
# Words after which an expression begins, though they look like names.
BEFORE_EXPRESSION = {"return", "else", "do", "case", "throw", "co_return", "co_await", "goto"}
BEFORE_CONDITION = {"if", "while", "for", "switch", "constexpr"}


@dataclass(frozen=True)
class FileScopeShared:
    """A `__shared__` array outside of functions: each function that names it gets a reference to its block's own."""

    name: str
    reference: str


class Rewriter:
    """Rewrites what the preprocessor made of a file; `file` is the name for lines before the first marker."""

    def __init__(self, preprocessed: str, file: Path) -> None:
        self.words = Words(preprocessed, file)
        self.found: Declarations = find_declarations(self.words)
        self.kernels = {f.name for f in self.found.functions if f.is_kernel}
        self.device_code = self._device_code()
        self.shared: list[FileScopeShared] = []
        self.count = 0  # names that we make up are numbered
        self.has_variables = False  # of the device

    def run(self) -> str:
        self._refuse()
        check_rules(self.words, self.found)
        self._rewrite_words()
        self._rewrite_shared()
        for i in range(len(self.words) - 1, -1, -1):  # inner launches first
            if self.words[i] == "<<<":
                self._rewrite_launch(i)
        for function in self.found.functions:
            if function.body[0] >= 0:
                self._refer_to_shared(function)
                if function.is_kernel:
                    self._rewrite_kernel(function)
        return self.words.text() + (GUARDS if self.has_variables else "")

    # ---- where device code is

    def _device_code(self) -> list[tuple[int, int]]:
        """First and last word of each function that runs on the device, lambdas of host functions among them."""
        words = self.words
        spans = [(f.first, f.body[1]) for f in self.found.functions if f.on_device and f.body[0] >= 0]
        bodies = [f.body for f in self.found.functions if not f.on_device and f.body[0] >= 0]
        for first, last in bodies:
            for i in range(first, last):
                if words[i] in ("__device__", "__global__") and not any(a <= i <= b for a, b in spans):
                    spans.append((i, self._end_of_function(i)))
        # A member's initial value, which the constructor computes, on the device where the object is made there.
        functions = [(f.first, f.body[1]) for f in self.found.functions if f.body[0] >= 0]
        spans += [
            (i, i + 1)
            for i in range(len(words) - 1)
            if words[i] in BUILT_IN and words[i + 1] == "." and not any(a <= i <= b for a, b in functions)
        ]
        return sorted(spans)

    def is_device_code(self, file: str, line: int) -> bool:
        """Whether a line of a file belongs to a function that runs on the device."""
        places = ((self.words.place(first), self.words.place(last)) for first, last in self.device_code)
        return any(begin[0] == file and begin[1] <= line <= end[1] for begin, end in places)

    def _end_of_function(self, i: int) -> int:
        words = self.words
        while words[i] not in ("{", ";", ""):
            i = words.pair[i] + 1 if words[i] in ("(", "[") else i + 1
        return words.pair.get(i, i)

    # ---- single words

    def _refuse(self) -> None:
        words = self.words
        for i in range(len(words)):
            word = words[i]
            if word in REFUSED_NAMES and words[i - 1] not in (".", "->"):
                if word in ("asm", "__asm__") and self._is_empty_asm(i):
                    continue
                words.fail(i, refusal(REFUSED_NAMES[word]), unsupported=True)

    def _is_empty_asm(self, i: int) -> bool:
        """`asm volatile("" ::: "memory")` keeps the compiler from moving accesses, in any compiler."""
        while self.words[i] and self.words[i] != "(":
            i += 1
        return self.words[i + 1] == '""'

    def _rewrite_words(self) -> None:
        words = self.words
        variables = {i for v in self.found.variables if self._is_placed(v) for i in range(v.first, v.last + 1)}
        for i in range(len(words)):
            word = words[i]
            if word in SILENT:
                is_variable = word in ("__device__", "__managed__") and i in variables
                self.has_variables |= is_variable
                words.instead(i, FAR_APART if is_variable else "")
            elif word == "__constant__":
                static = "" if self._beside(i, {"static", "extern"}) else "static "
                self.has_variables = True
                words.instead(i, f"{static}{FAR_APART}")
            elif word == "__forceinline__":
                inline = "" if self._beside(i, {"inline", "__inline__", "__inline"}) else "inline "
                words.instead(i, f"{inline}__attribute__((always_inline))")
            elif word == "__noinline__" and words[i - 1] != "(":
                words.instead(i, "__attribute__((noinline))")
            elif words[i + 1] == "(" and word in ENDS_PROGRAM:
                self._rewrite_end(i)
            elif words[i + 1] == "(" and word == "printf" and words[i - 1] not in (".", "->"):
                words.instead(i, "emu_printf")
        for v in self.found.variables:
            if not v.in_class and not MEMORIES.isdisjoint(words[i] for i in range(v.first, v.last + 1)):
                self._show_reads(v.first, v.last)
        methods = {function.at for function in self.found.functions if function.in_class}
        for first, last in self.device_code:
            own = self._own_names(first, last)
            body = next((i for i in words.top_level(first, last) if words[i] == "{"), last)
            for i in range(first, last):
                if words[i] in BUILT_IN and words[i] not in own and words[i - 1] not in (".", "->", "::"):
                    words.instead(i, f"emu_{words[i]}()")
                elif words[i] == "clock" and words[i + 1] == "(" and words[i - 1] not in (".", "->", "::"):
                    words.instead(i, "clock" if i in methods else "emu_clock32")
                elif words[i] in ("for", "while", "do"):
                    self._mark_turns(i)
                elif words[i] == "static" and i > body and self._is_local_variable(i):
                    self.has_variables = True
                    words.instead(i, f"static {FAR_APART}")
                    self._show_reads(*self._statement(i))

    def _is_placed(self, variable: Variable) -> bool:
        """Whether a variable has a place of its own, and not one in each object of its class."""
        return not variable.in_class or any(self.words[i] == "static" for i in range(variable.first, variable.last + 1))

    def _show_reads(self, first: int, last: int) -> None:
        """A const array becomes a const reference to one that is not const, of which compilers report reads."""
        words = self.words
        tops = list(words.top_level(first, last))
        texts = [words[i] for i in tops]
        head = tops[: texts.index("=")] if "=" in texts else tops
        texts = [words[i] for i in head]
        if "[" not in texts or not {"(", ",", "<", "extern", "template", "constexpr"}.isdisjoint(texts):
            return
        own = texts[len(texts) - texts[::-1].index("*") :] if "*" in texts else texts  # of the elements themselves
        if "const" not in own or "," in (words[i] for i in tops):
            return
        name = next(before for before, i in pairwise(head) if words[i] == "[")
        for i in head[-len(own) :]:
            if words[i] == "const":
                words.remove(i, i)
        plain = words[name]
        words.instead(name, f"{CONST_PREFIX}{plain}")
        words.after(last, f"; [[maybe_unused]] static const auto& {plain} = {CONST_PREFIX}{plain}")

    def _is_local_variable(self, i: int) -> bool:
        """Whether the word `static` begins a variable of device code that all threads share."""
        words, (first, last) = self.words, self._statement(i)
        tops = [words[k] for k in words.top_level(first, last)]
        head = tops[: tops.index("=")] if "=" in tops else tops
        return "(" not in head and "__shared__" not in head

    def _beside(self, i: int, wanted: set[str]) -> bool:
        """Whether one of the words stands among the specifiers that surround word i."""
        words = self.words
        for step in (-1, 1):
            k = i + step
            while is_name(words[k]) or words[k] in ('"C"', "::", "*", "&"):
                if words[k] in wanted:
                    return True
                k += step
        return False

    def _mark_turns(self, i: int) -> None:
        """What a loop accesses in each turn is not to be moved out of it; a `while (...);` has nothing in it."""
        words = self.words
        head = i if words[i] == "do" else words.pair.get(i + 1, -1)
        if head >= 0 and words[head + 1] != ";":
            words.after(head, " if (::emu::turn()) {} else")

    def _own_names(self, first: int, last: int) -> set[str]:
        """Built-in variables' names that a function gives to its own parameters or variables."""
        words = self.words
        return {
            words[i]
            for i in range(first + 1, last)
            if words[i] in BUILT_IN
            and (words[i - 1] in ("dim3", "uint3", "auto", "int", "unsigned") or words[i - 1] in ("&", "const"))
            and words[i + 1] in ("=", "(", "{", ",", ")", ";")
        }

    def _rewrite_end(self, i: int) -> None:
        """Calls of exit() and abort() become findings. A declaration (after a type) and a method are left alone."""
        before = self.words[i - 1]
        if before in (".", "->", "*", "&") or (is_name(before) and before not in BEFORE_EXPRESSION):
            return
        self.words.instead(i, f'emu::Ends{{"{self.words[i]}()", emu::Site::here()}}')

    # ---- kernel<<<grid, block, shared, stream>>>(arguments)

    def _rewrite_launch(self, i: int) -> None:
        words = self.words
        if any(first <= i <= last for first, last in self.device_code):
            words.fail(i, refusal("kernels that launch kernels (dynamic parallelism)"), unsupported=True)
        first = self._start_of_expression(i)
        close = self._closing_angles(i)
        if words[close + 1] != "(":
            words.fail(close, "the kernel's arguments must follow >>>, as in kernel<<<grid, block>>>(a, b)")
        name = words.plain(first, i - 1).replace("\\", "").replace('"', "'")
        configuration = words.span(i + 1, close - 3)
        if not configuration.strip():
            words.fail(i, "a launch needs a grid and a block: kernel<<<grid, block>>>(...)")
        words.remove(i, close)
        words.before(first, f'(::emu::Launch("{name}", ::emu::Site::here(), {configuration}), void(), ')
        words.after(words.pair[close + 1], ")")

    def _start_of_expression(self, i: int) -> int:
        """Where the postfix expression before <<< begins: `k`, `ns::k<T>`, `(k)`, `table[n]`, `a->b`, `pick(n)`."""
        words, k = self.words, i - 1
        while True:
            word, first = words[k], k
            if word in (")", "]"):
                first = words.pair[k]
                if self._is_suffix(first):
                    k = first - 1
                    continue
            elif word == ">":
                first = self._template_name(k)
            elif not is_name(word):
                words.fail(i, "name the kernel directly before <<<")
            before = words[first - 1]
            if before == "::":
                named = is_name(words[first - 2]) and words[first - 2] not in BEFORE_EXPRESSION
                if not named and words[first - 2] != ">":
                    return first - 1
                k = first - 2
            elif before in (".", "->"):
                k = first - 2
            else:
                return first

    def _is_suffix(self, opened: int) -> bool:
        """Whether a bracket continues an expression (a call, an index) and does not begin one."""
        words, before = self.words, self.words[opened - 1]
        if before == ")":
            return words[words.pair[opened - 1] - 1] not in BEFORE_CONDITION
        return before == "]" or (is_name(before) and before not in BEFORE_EXPRESSION | BEFORE_CONDITION)

    def _template_name(self, closed: int) -> int:
        """The name whose template arguments end at `closed`; rather a known kernel's than one in its arguments."""
        words, depth, k, best = self.words, 0, closed, -1
        while k >= 0 and words[k] not in (";", "(", "[", "{", "}"):
            if words[k] in (")", "]"):
                k = words.pair[k]
            depth += (words[k] == ">") - (words[k] == "<")
            if words[k] == "<" and depth <= 0 and is_name(words[k - 1]):
                if words[k - 1] in self.kernels:
                    return k - 1
                best = k - 1 if best < 0 else best
            k -= 1
        if best < 0:
            words.fail(closed, "cannot find the < that belongs to this >")
        return best

    def _closing_angles(self, i: int) -> int:
        """The last of the three > that end a configuration: three more than close template arguments in it."""
        words, k, opened = self.words, i + 1, 0
        while k < len(words) and words[k] not in (")", "]", "}", ";"):
            if words[k] in ("(", "[", "{"):
                k = words.pair[k]
            elif words[k] == "<" and is_name(words[k - 1]):
                opened += 1
            elif words[k] == ">":
                run = k
                while words[run + 1] == ">":
                    run += 1
                if run - k >= 2 and (run - k + 1 - opened >= 3 or not self._more_angles(run + 1)):
                    return run
                opened -= run - k + 1
                k = run
            k += 1
        return words.fail(i, "<<< without >>>")

    def _more_angles(self, i: int) -> bool:
        """Whether another >>> follows in the statement; then one before it only closes template arguments."""
        words = self.words
        while words[i] and words[i] not in (";", "}", ")", "]", "<<<"):
            if words[i] == words[i + 1] == words[i + 2] == ">":
                return True
            i = words.pair[i] + 1 if words[i] in ("(", "[", "{") else i + 1
        return False

    # ---- __global__ void kernel(parameters) { body }

    def _rewrite_kernel(self, kernel: Function) -> None:
        words, (opened, closed) = self.words, kernel.parameters
        names, texts = [], []
        for first, last in words.split(opened + 1, closed - 1):
            if first == last and words[first] == "void":
                continue
            default = next((i for i in words.top_level(first, last) if words[i] == "="), last + 1)
            name = self._parameter_name(first, default - 1)
            if name < 0:  # has none: give it one, here and in the body's list
                self.count += 1
                words.after(default - 1, f" emu_unnamed_{self.count}")
                names.append(f"emu_unnamed_{self.count}")
            else:
                pack = "..." if "..." in "".join(words[i] for i in range(first, default)) else ""
                names.append(words[name] + pack)
            texts.append(words.span(first, default - 1))
        begin, end = kernel.body
        # A function of its own, so that each place in it has a line of the file, however little is left of a loop; and
        # of a class, so that the compiler names the kernel when it warns.
        function = f"__attribute__((noinline)) static void run({', '.join(texts)})"
        words.before(begin, f"{{ struct emu_body {{ {function} ")
        words.after(end, f" }}; ::emu::run_kernel({', '.join(['&emu_body::run', '::emu::Site::here()', *names])}); }}")

    def _parameter_name(self, first: int, last: int) -> int:
        """The word that names a parameter, -1 without: the last one, but for arrays and pointers to functions."""
        words, i = self.words, last
        while i > first and words[i] == "]":
            i = words.pair[i] - 1
        if words[i] == ")":  # int (*f)(int)
            inner = range(first, i)
            return next((k for k in inner if words[k] == "*" and is_name(words[k + 1]) and words[k - 1] == "("), -2) + 1
        kinds = [k for k in range(first, i) if is_name(words[k]) and words[k] not in NO_TYPES]  # of `const T`: none
        named = is_name(words[i]) and words[i] not in NUMBER_TYPES and words[i - 1] != "::"
        return i if named and kinds else -1

    # ---- __shared__

    def _rewrite_shared(self) -> None:
        words, done = self.words, -1
        for i in range(len(words)):
            if words[i] != "__shared__" or i <= done:
                continue
            first, last = self._statement(i)
            done = last
            at_file_scope = not any(f.body[0] < i < f.body[1] for f in self.found.functions)
            at_file_scope = at_file_scope and not any(a < i < b for a, b in self.device_code)
            self._rewrite_shared_declaration(i, first, last, at_file_scope)

    def _statement(self, i: int) -> tuple[int, int]:
        """The declaration around word i: its first word, and its last before the semicolon."""
        words, first, last = self.words, i, i
        while first > 0 and words[first - 1] not in (";", "{", "}", ":"):
            first = words.pair[first - 1] if words[first - 1] in (")", "]") else first - 1
        while words[last] != ";":
            if not words[last]:
                words.fail(i, "a __shared__ declaration without ;")
            last = words.pair[last] + 1 if words[last] in ("(", "[", "{") else last + 1
        return first, last - 1

    def _rewrite_shared_declaration(self, i: int, first: int, last: int, at_file_scope: bool) -> None:
        """`__shared__ T a[2], b` becomes a typedef for each name, and references to what the runtime lays out."""
        words = self.words
        is_extern = "extern" in (words[k] for k in range(first, i + 2))
        for k in words.top_level(first, last):
            if words[k] in ("__shared__", "static", "extern"):
                words.instead(k, "")
            if words[k] == "alignas":
                words.remove(k, words.pair[k + 1])
        align = max([int(a) for a in self._alignments(first, last)], default=16)
        parts = words.split(first, last)
        names = [self._declared_name(i, *part) for part in parts]
        references = []
        for name in names:
            self.count += 1
            kind, text = f"emu_{words[name]}_{self.count}", words[name]
            words.instead(name, kind)
            if is_extern:
                reference = f'auto& {text} = *reinterpret_cast<{kind}*>(emu_dynamic_shared("{text}"));'
            else:
                key = f"&emu_key_{self.count}" if at_file_scope else "[]{ static char emu_key; return &emu_key; }()"
                array = f"::emu::shared<{kind}, {max(align, 16)}>"
                reference = f'auto& {text} = {array}({key}, "{text}", ::emu::Site::here());'
                if at_file_scope:
                    words.after(last, f"; static char emu_key_{self.count}")
            references.append(reference)
            if at_file_scope:
                self.shared.append(FileScopeShared(text, reference))
        words.before(first, "typedef ")
        if not at_file_scope:
            words.after(last, "; " + " ".join(references).removesuffix(";"))

    def _alignments(self, first: int, last: int) -> Iterable[str]:
        words = self.words
        for k in range(first, last + 1):
            if words[k] in ("alignas", "aligned", "__align__"):
                number = next((words[n] for n in range(k + 1, last) if words[n] != "("), "")
                yield from [number] if number.isdecimal() else []

    def _declared_name(self, i: int, first: int, last: int) -> int:
        """The name in one declarator: the last name before its brackets."""
        words = self.words
        tops = list(words.top_level(first, last))
        initial = [k for k in tops if words[k] in ("=", "{") and (words[k] == "=" or not self._is_class_body(first, k))]
        if initial:
            words.fail(i, "a __shared__ variable has no initial value: let one thread set it, then __syncthreads()")
        for k in reversed(tops):
            if is_name(words[k]) and words[k] not in ("__shared__", "static", "extern", "__attribute__", "alignas"):
                return k
            if words[k] == "(" and words[k + 1] in ("*", "&") and words[k - 1] != "__attribute__":
                return k + 2  # T (*p)[4]
        return words.fail(i, "a __shared__ declaration without a name")

    def _is_class_body(self, first: int, brace: int) -> bool:
        return any(self.words[k] in ("struct", "class", "union", "enum") for k in range(first, brace))

    def _refer_to_shared(self, function: Function) -> None:
        """Brings the references to arrays at file scope into a function that names them."""
        words, (first, last) = self.words, function.body
        used = {words[i] for i in range(first, last) if words[i - 1] not in (".", "->")}
        own = {words[i] for i in range(*function.parameters)}
        for shared in self.shared:
            if shared.name in used - own:
                words.after(first, f" [[maybe_unused]] {shared.reference}")


def call_wrappers(launchers: Iterable[Launcher], path: Path) -> str:
    """C functions that call each launcher with arguments given by address, so that the runtime can guard the call.

    `path` is the file that the launchers' lines are of.
    """
    lines = ['\n# 1 "yaie-launchers"']
    for f in launchers:
        arguments = ", ".join(f"*static_cast<{p.declared}*>(arguments[{i}])" for i, p in enumerate(f.parameters))
        call = f"{f.name}({arguments});"
        body = f"{call} return 0;" if f.returns == "void" else f"return static_cast<int>({call[:-1]});"
        site = f"::emu::Site{{{quoted(path)}, {f.line}, 0}}"
        lines.append(
            f'extern "C" int emu_call_{f.name}([[maybe_unused]] void** arguments) {{ ::emu::Launch::pending = nullptr; '
            f"try {{ {body} }} catch (const std::exception& error) {{ ::emu::uncaught(error.what(), {site}); }} "
            f'catch (...) {{ ::emu::uncaught("it is no std::exception", {site}); }} }}'
        )
    return "\n".join([*lines, ""])
