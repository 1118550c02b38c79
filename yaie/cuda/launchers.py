"""Finds the launchers of a ``.cu`` file: its ``extern "C"`` functions, their parameters, and the structs among these.

Standard library only: ``csrc/setup.py`` reads files with it, where there may be no torch. What a parameter takes
from Python stands in ``arguments.py``.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from .source import Source, SourceError, split_top_level, strip_comments, where_line

# The number types that a launcher's parameter or a field of its structs may have.
NUMBERS: dict[str, type] = {
    "bool": ctypes.c_bool,
    **dict.fromkeys(["int", "int32_t"], ctypes.c_int32),
    **dict.fromkeys(["unsigned", "unsigned int", "uint32_t"], ctypes.c_uint32),
    **dict.fromkeys(["long", "long long", "int64_t"], ctypes.c_int64),
    **dict.fromkeys(["unsigned long", "unsigned long long", "uint64_t", "size_t"], ctypes.c_uint64),
    **dict.fromkeys(["short", "int16_t"], ctypes.c_int16),
    **dict.fromkeys(["unsigned short", "uint16_t"], ctypes.c_uint16),
    **dict.fromkeys(["char", "signed char", "int8_t"], ctypes.c_int8),
    **dict.fromkeys(["unsigned char", "uint8_t"], ctypes.c_uint8),
    "float": ctypes.c_float,
    "double": ctypes.c_double,
}
LAUNCHER = re.compile(r"\s*((?:[\w:]+\s+)+)(\w+)\s*\(([^{;]*?)\)\s*(?:noexcept\s*)?(?:->\s*(\w+)\s*)?\{", re.S)
ALIAS = re.compile(r"\btypedef\s+(\w[\w\s]*?)\s+(\w+)\s*;|\busing\s+(\w+)\s*=\s*(\w[\w\s]*?)\s*;")
STREAMS = ("cudaStream_t", "CUstream")
RETURNS = ("void", "int", "cudaError_t")
ATTRIBUTE = re.compile(r"__attribute__\s*\(\(((?:[^()]|\([^()]*\))*)\)\)")


@dataclass(frozen=True)
class Struct:
    """A struct of plain numbers that a launcher takes by value: its name, and the name and type of each field."""

    name: str
    fields: tuple[tuple[str, str], ...]

    @property
    def c_fields(self) -> list[tuple[str, type]]:
        """The fields as ctypes wants them."""
        return [(name, NUMBERS[kind]) for name, kind in self.fields]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a launcher: ``type`` without const and *, e.g. ``float`` of ``const float* x``."""

    name: str
    type: str
    pointer: bool
    const: bool
    declared: str
    struct: Struct | None = None


@dataclass(frozen=True)
class Launcher:
    """A launcher: what it returns (int and cudaError_t: an error code, 0 is none), and the line of its name."""

    name: str
    returns: str
    parameters: tuple[Parameter, ...]
    line: int


def find_launchers(text: str, path: Path) -> list[Launcher]:
    """The functions defined as ``extern "C"``, one by one or in an ``extern "C" { }`` block.

    The text is what a preprocessor made of a file, or the file's own, if it defines no launcher by a macro and leaves
    none out by an #if. ``path`` is the file that it stands for; local headers, which may define structs, are looked for
    beside it. Raises SourceError for a launcher, or a struct of one, that cannot be read.
    """
    code = ATTRIBUTE.sub(_without_attribute, strip_comments(text))
    try:
        found = _read_launchers(code, path)
    except SourceError as error:
        name, line = where_line(text, error.line, path)
        raise SourceError(error.message, Path(name), line) from None
    names = {m[2] or m[3]: m[1] or m[4] for m in ALIAS.finditer(code)} | {
        "uint": "unsigned",
        "ushort": "unsigned short",
    }
    found = [
        replace(each, parameters=tuple(replace(p, type=_resolved(p.type, names)) for p in each.parameters))
        for each in found
    ]
    structs = _find_structs(found, Source(path, text))
    return [
        replace(
            launcher,
            line=where_line(text, launcher.line, path)[1],
            parameters=tuple(p if p.pointer else replace(p, struct=structs.get(p.type)) for p in launcher.parameters),
        )
        for launcher in found
    ]


# CUDA's own headers define these by a typedef, so they are not to be followed to what stands behind them.
VECTORS = re.compile(r"(?:u?(?:char|short|int|long|longlong)|float|double)[1-4]")


def _resolved(kind: str, names: dict[str, str]) -> str:
    """A type by its own name: `real` of `typedef float real;` is float."""
    for _ in range(8):  # names of names; not for ever
        if kind not in names or kind in NUMBERS or VECTORS.fullmatch(kind):
            return kind
        kind = " ".join(names[kind].split())
    return kind


def _without_attribute(match: re.Match) -> str:
    """nvcc's preprocessor makes attributes of __global__ and its kin; others do not matter here."""
    kept = f" __{match[1]}__ " if match[1] in ("global", "device", "host") else " "
    return kept + "\n" * match[0].count("\n")


def _read_launchers(text: str, file: Path) -> list[Launcher]:
    launchers = []
    for match in re.finditer(r'extern\s+"C"\s*(\{?)', text):
        if not match[1]:
            launchers += _read_launcher(text, match.end(), file)
            continue
        depth, k, statement = 1, match.end(), match.end()
        while k < len(text) and depth:
            if depth == 1 and text[k] == "{":
                launchers += _read_launcher(text, statement, file)
            depth += (text[k] == "{") - (text[k] == "}")
            if depth == 1 and text[k] in ";}":
                statement = k + 1
            k += 1
    return launchers


def _read_launcher(text: str, start: int, file: Path) -> list[Launcher]:
    match = LAUNCHER.match(text, start)
    if not match:
        return []
    line = text.count("\n", 0, match.start(2)) + 1
    if {"__global__", "__device__"} & set(match[1].split()):
        return []  # a kernel that C may name, not a launcher
    returns = match[4] or " ".join(w for w in match[1].split() if w not in ("static", "inline", "__host__"))
    if returns not in RETURNS:
        raise SourceError(
            f"launcher {match[2]} returns {returns}; a launcher returns int (the CUDA error) or void", file, line
        )
    parts = [p.strip() for p in split_top_level(match[3]) if p.strip() and p.strip() != "void"]
    parameters = tuple(_read_parameter(p, match[2], file, line) for p in parts)
    return [Launcher(match[2], returns, parameters, line)]


def _read_parameter(text: str, launcher: str, file: Path, line: int) -> Parameter:
    words = re.sub(r"\b(?:__restrict__|__restrict|restrict)\b", " ", text.split("=")[0])
    match = re.match(r"^(.*?)(\*?)\s*(\bconst\b\s*)?(\w+)\s*$", " ".join(words.split()), re.S)
    if not match or not match[1].strip() or "*" in match[1] or "&" in words or "[" in words:
        raise SourceError(
            f"launcher {launcher}: cannot read the parameter `{text}`; write `const T* name`, `T* name`, a number or a "
            "struct of numbers",
            file,
            line,
        )
    kind = " ".join(w for w in match[1].split() if w not in ("const", "struct"))
    return Parameter(match[4], kind, bool(match[2]), "const" in match[1].split(), f"{match[1].strip()}{match[2]}")


# ---- structs


def _find_structs(launchers: list[Launcher], source: Source) -> dict[str, Struct]:
    """The structs that parameters are of by value, by name, from the file or its headers; without those not found."""
    wanted = {p.type for launcher in launchers for p in launcher.parameters if not p.pointer}
    wanted = {name for name in wanted - NUMBERS.keys() - set(STREAMS) if name.isidentifier()}
    found: dict[str, Struct] = {}
    if not wanted:
        return found
    for path, text in {source.path: source.text, **source.headers()}.items():
        code = strip_comments(text)
        for name in sorted(wanted - found.keys()):
            if match := re.search(rf"\bstruct\s+{name}\s*\{{(.*?)\}}", code, re.S):
                line = code.count("\n", 0, match.start()) + 1
                file, line = where_line(text, line, path)
                found[name] = _read_struct(name, match[1], Path(file), line)
    return found


def _read_struct(name: str, body: str, file: Path, line: int) -> Struct:
    fields: list[tuple[str, str]] = []
    statements = [" ".join(each.split()) for each in body.split(";")]
    for statement in [each for each in statements if each] or ["{ }"]:
        match = re.fullmatch(r"(\w[\w ]*?) (\w+(?: ?, ?\w+)*)", statement)
        if not match or match[1] not in NUMBERS:
            raise SourceError(
                f"struct {name}: cannot read `{statement}`; a launcher's struct has plain numbers only, such as "
                "`int rows, columns; float scale;` (int, int64_t, float, double, bool, ...)",
                file,
                line,
            )
        fields += [(each.strip(), match[1]) for each in match[2].split(",")]
    return Struct(name, tuple(fields))


# ---- kept with a build


def as_plain(launchers: Iterable[Launcher]) -> list[dict]:
    """For JSON."""
    return [asdict(launcher) for launcher in launchers]


def from_plain(launchers: Iterable[dict]) -> tuple[Launcher, ...]:
    def struct(plain: dict | None) -> Struct | None:
        return plain and Struct(plain["name"], tuple((name, kind) for name, kind in plain["fields"]))

    def parameter(plain: dict) -> Parameter:
        return Parameter(**{**plain, "struct": struct(plain["struct"])})

    return tuple(Launcher(**{**each, "parameters": tuple(map(parameter, each["parameters"]))}) for each in launchers)


def layout_checks(launchers: Iterable[Launcher]) -> str:
    """C++ that does not compile where a struct is laid out otherwise than Python fills it; empty without structs."""
    structs = dict.fromkeys(p.struct for launcher in launchers for p in launcher.parameters if p.struct)
    lines = []
    for struct in structs:
        layout = type(struct.name, (ctypes.Structure,), {"_fields_": struct.c_fields})
        right = [f"sizeof({struct.name}) == {ctypes.sizeof(layout)}"]
        right += [f"__builtin_offsetof({struct.name}, {n}) == {getattr(layout, n).offset}" for n, _ in struct.fields]
        lines.append(f'static_assert({" && ".join(right)}, "struct {struct.name} is not what its text says at first");')
    return "\n".join(['\n# 1 "yaie-launchers"', *lines, ""]) if lines else ""
