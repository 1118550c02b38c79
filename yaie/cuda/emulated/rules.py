"""nvcc's rules that g++ does not know: what a kernel may look like, and who may call whom.

Names are looked up as far as words tell: a function by its last name, all overloads together. What depends on types
(a host lambda given to a kernel, a host function called by a template that is never used, a member function) cannot be
known here; it is passed, and a card's compiler says it.
"""

from __future__ import annotations

from collections.abc import Iterator

from .declarations import Declarations, Function
from .words import Words, is_name

SPECIFIERS = {"static", "inline", "extern", "__inline__", "__inline", "__forceinline__", "__noinline__", "constexpr"}
KEYWORDS = {"return", "else", "case", "throw", "new", "delete", "sizeof", "do", "goto", "co_return", "not", "and", "or"}
BUILT_IN_TYPES = {
    "auto",
    "int",
    "float",
    "double",
    "char",
    "bool",
    "unsigned",
    "long",
    "short",
    "void",
    "size_t",
    "const",
}
STATEMENT_ENDS = {";", "{", "}", "const", "static", ":"}
NO_VARIABLES = {"class", "struct", "union", "enum", "template"}
DEVICE_MEMORY = {"__device__", "__constant__", "__managed__", "__shared__"}
# Functions of C, C++ and the CUDA runtime that exist on the host only, and that kernels are found to call.
HOST_LIBRARY = {
    "rand", "srand", "fprintf", "puts", "putchar", "fflush", "fopen", "fclose", "getenv", "scanf", "strlen", "strcmp",
    "time",     "cudaMemcpy", "cudaMemset", "cudaFree", "cudaMemcpyAsync", "cudaDeviceSynchronize",
}  # fmt: skip
HOST_STREAMS = {"cout", "cerr", "endl"}
NOT_ON_DEVICE = {
    **dict.fromkeys(["throw", "try"], "device code has no exceptions"),
    **dict.fromkeys(["dynamic_cast", "typeid"], "device code has no types at run time"),
    "thread_local": "a variable of device code cannot be thread_local: local variables are each thread's own",
}


def check_rules(words: Words, found: Declarations) -> None:
    """Raises SourceError at the first place where nvcc would stop."""
    rules = _Rules(words, found)
    for function in found.functions:
        if function.is_kernel:
            rules.check_kernel(function)
        if function.body[0] >= 0:
            rules.check_body(function)


class _Rules:
    def __init__(self, words: Words, found: Declarations) -> None:
        self.words = words
        free = [f for f in found.functions if not f.in_class]
        by_name: dict[str, list[Function]] = {}
        for function in free:
            by_name.setdefault(function.name, []).append(function)
        self.kernels = {n for n, all_ in by_name.items() if all(f.is_kernel for f in all_)}
        self.on_device = {n for n, all_ in by_name.items() if all(f.on_device_only for f in all_)} - self.kernels
        # constexpr functions may be evaluated while compiling, which is no call
        self.on_host = {n for n, all_ in by_name.items() if not any(f.on_device or f.constant for f in all_)}
        self.host_variables = set(self._host_variables(found))

    def _host_variables(self, found: Declarations) -> Iterator[str]:
        """Variables of the host whose values device code cannot know: constants that are numbers are compiled in."""
        words = self.words
        for variable in found.variables:
            texts = {words[i] for i in range(variable.first, variable.last + 1)}
            if variable.in_class or not texts.isdisjoint(
                DEVICE_MEMORY | {"class", "struct", "union", "enum", "template"}
            ):
                continue
            constant = not texts.isdisjoint({"const", "constexpr"})
            for first, last in words.split(variable.first, variable.last):
                tops = list(words.top_level(first, last))
                ends = [i for i in tops if words[i] in ("=", "{", "[", "(")]
                end = ends[0] if ends else last + 1
                if is_name(words[end - 1]) and (not constant or words[end] == "["):
                    yield words[end - 1]

    # ---- a kernel's declaration

    def check_kernel(self, kernel: Function) -> None:
        words, name = self.words, kernel.name
        if not kernel.attributes.isdisjoint({"__device__", "__host__"}):
            words.fail(kernel.at, f"kernel {name}: __global__ does not go with __device__ or __host__")
        if kernel.in_class:
            words.fail(kernel.at, f"kernel {name}: a member function cannot be a kernel")
        self._check_return(kernel)
        opened, closed = kernel.parameters
        for first, last in words.split(opened + 1, closed - 1):
            for i in words.top_level(first, last):
                if words[i] == "=":
                    break
                if words[i] == "&&":  # nvcc takes `T&`; whatever a kernel then does with it is found when it runs
                    words.fail(
                        i,
                        f"kernel {name}: `{words.plain(first, last)}` is a reference to a value of the host; take it "
                        "by value, or a pointer to device memory",
                    )
            if words[first] == "..." and first == last:
                words.fail(first, f"kernel {name}: a kernel has no `...` parameters")

    def _check_return(self, kernel: Function) -> None:
        words, i = self.words, kernel.first
        returns: list[str] = []
        while i < kernel.at:
            word = words[i]
            if word == "template" and words[i + 1] == "<":
                i = words.end_of_angles(i + 1)
            elif word in ("__attribute__", "alignas", "[") or word[0] == '"':
                i = words.pair.get(i + 1, i) if word[0] not in '"[' else words.pair.get(i, i)
            elif word not in SPECIFIERS and word != "__global__":
                returns.append(word)
            i += 1
        while "::" in returns[-2:]:  # ns::kernel, defined outside of its namespace
            del returns[-2:]
        if returns != ["void"]:
            got = " ".join(returns) or "nothing"
            words.fail(kernel.at, f"kernel {kernel.name} must return void (has {got}): results go through pointers")

    # ---- what a body names

    def check_body(self, function: Function) -> None:
        words, (first, last) = self.words, function.body
        own = self._own_names(function)
        lambdas = [] if function.on_device else self._device_lambdas(first, last)
        in_attribute = -1
        for i in range(first + 1, last):
            word = words[i]
            if word in ("__attribute__", "alignas"):
                in_attribute = words.pair.get(i + 1, i)
            if (
                i <= in_attribute
                or not is_name(word)
                or word in own
                or words[i - 1] in (".", "->")
                or words[i - 1] == "__global__"
            ):
                continue
            in_lambda = any(a <= i <= b for a, b in lambdas)
            device_only = function.on_device_only or in_lambda
            if word in NOT_ON_DEVICE and (function.on_device or in_lambda):
                words.fail(i, f"`{word}`: {NOT_ON_DEVICE[word]}")
            qualified = words[i - 1] == "::"
            if self._is_called(i):
                self._check_call(i, function, device_only, qualified)
            elif device_only and not qualified and word in self.host_variables:
                words.fail(
                    i,
                    f"`{word}` is a variable of the host, which device code cannot reach; pass it as an argument, or "
                    "make it __device__ or __constant__",
                )
            if device_only and qualified and words[i - 2] == "std" and word in HOST_STREAMS:
                words.fail(i, f"std::{word} is of the host, which device code cannot reach; use printf")

    def _check_call(self, i: int, function: Function, device_only: bool, qualified: bool) -> None:
        words, name = self.words, self.words[i]
        if name in self.kernels and words[i - 1] not in ("void", ">") and words[i + 1] == "(":
            words.fail(i, f"kernel {name} is called like a function; launch it: {name}<<<grid, block>>>(...)")
        if device_only and qualified and words[i - 2] == "std":
            return  # parts of the standard library are constexpr
        if device_only and (name in self.on_host or name in HOST_LIBRARY):
            caller = f"kernel {function.name}" if function.is_kernel else f"__device__ function {function.name}"
            words.fail(
                i, f"{caller} calls {name}(), which is a function of the host; only __device__ functions can be called"
            )
        if not function.on_device and not device_only and not function.constant and name in self.on_device:
            words.fail(
                i, f"host function {function.name} calls {name}(), which is a __device__ function; make it __host__ too"
            )

    def _is_called(self, i: int) -> bool:
        words = self.words
        if words[i + 1] == "<":
            end = words.end_of_angles(i + 1)
            return end > 0 and words[end + 1] == "("
        return words[i + 1] == "("

    def _device_lambdas(self, first: int, last: int) -> list[tuple[int, int]]:
        words, spans = self.words, []
        for i in range(first, last):
            if words[i] == "__device__":
                k = i
                while words[k] not in ("{", ";", ""):
                    k = words.pair[k] + 1 if words[k] in ("(", "[") else k + 1
                host_too = "__host__" in (words[i - 1], words[i + 1])
                spans.append((i, i if host_too else words.pair.get(k, k)))
                if host_too:
                    spans.pop()
        return spans

    def _own_names(self, function: Function) -> set[str]:
        """Names of parameters, and names that a body declares: after a type, and before what follows a declarator."""
        words, own = self.words, set()
        opened, closed = function.parameters
        own |= {words[i] for i in range(opened, closed) if is_name(words[i]) and words[i + 1] in (",", ")", "=", "[")}
        for i in range(function.body[0] + 1, function.body[1]):
            before = words[i - 1]
            typed = is_name(before) and before not in KEYWORDS
            if before in ("*", "&", "&&"):  # a declarator, and not a product
                typed = words[i - 2] in BUILT_IN_TYPES or (is_name(words[i - 2]) and words[i - 3] in STATEMENT_ENDS)
            declared = typed and words[i + 1] in ("=", ";", ",", "[", "{", ":", ")")
            if is_name(words[i]) and (declared or (before == ">" and words[i + 1] in ("=", ";", "{"))):
                own.add(words[i])
        return own
