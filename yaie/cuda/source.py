"""The text of a ``.cu`` file: its words, the local headers that it includes, and which file each line comes from.

A text that was put together from several files names the origin of each part with ``#line``. The compilers obey; so
must everything of ours that counts lines. Standard library only: ``csrc/setup.py`` reads files with it, where there may
be no torch.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

INCLUDE = Path(__file__).parent / "include"  # our headers for every target: yaie_ptx.cuh

TOKEN = re.compile(
    r"//[^\n]*|/\*.*?\*/"  # comments
    r'|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''  # strings and characters
    r"|[A-Za-z_]\w*|\.?\d(?:[eEpP][+-]|[\w.]|'\w)*"  # names and numbers
    r"|<<<|\s+|.",
    re.S,
)
INCLUDED = re.compile(r'^[ \t]*#[ \t]*include[ \t]*["<]([^">\n]+)[">]', re.M)
# `#line 12 "file"`, and `# 12 "file" 1 3` of a preprocessor
DIRECTIVE = re.compile(r'^[ \t]*#[ \t]*(?:line[ \t]+)?(\d+)(?:[ \t]+"((?:[^"\\\n]|\\.)*)")?')
MARKER = re.compile(r'^# (\d+) "((?:[^"\\\n]|\\.)*)"([ \d]*)$', re.M)
CONFLICT = re.compile(r"^(?:<{7}|\|{7}|={7}|>{7})(?: .*)?$", re.M)


class SourceError(SyntaxError):
    """Something that we cannot read in a file, or do not have (``unsupported``); carries file and line."""

    def __init__(self, message: str, file: Path, line: int, unsupported: bool = False) -> None:
        super().__init__(f"{file.name}:{line}: {message}")
        self.file, self.line, self.message, self.unsupported = file, line, message, unsupported


def read_text(path: Path) -> str:
    """A source file's text, whatever the locale: UTF-8, with or without a mark of it at the beginning, else Latin-1."""
    data = path.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SourceError("the file is UTF-16, which no CUDA compiler reads; save it as UTF-8", path, 1)
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        return data.decode("latin-1").replace("\r\n", "\n").replace("\r", "\n")


def encoded(text: str) -> bytes:
    """As `read_text` reads it; names of files that are no UTF-8 stay the bytes that they are."""
    return text.encode("utf-8", "surrogateescape")


def quoted(path: str | os.PathLike) -> str:
    """A path as #line and #include want it."""
    return '"' + os.fspath(path).replace("\\", "\\\\").replace('"', '\\"') + '"'


def unquoted(text: str) -> str:
    """What `quoted`, or the preprocessor, wrote between the quotes."""
    return re.sub(r"\\(.)", r"\1", text)


@dataclass(frozen=True)
class Source:
    """A ``.cu`` file, its text, and the name under which messages show it."""

    path: Path
    text: str

    def lines(self) -> dict[str, list[str]]:
        """The lines of the text, by the file that each is said to come from."""
        return lines_by_file(self.text, self.path)

    def refuse_conflicts(self) -> None:
        """Raises SourceError for the marks that version control leaves where two edits meet."""
        for path, text in {self.path: self.text, **self.headers()}.items():
            if match := CONFLICT.search(text):
                file, line = where_line(text, text.count("\n", 0, match.start()) + 1, path)
                raise SourceError(
                    f"`{match[0]}` is a conflict marker of version control; keep one of the two versions",
                    Path(file),
                    line,
                )

    def headers(self) -> dict[Path, str]:
        """The local headers that it includes, directly or not, and their texts, in the order in which they are met."""
        found: dict[Path, str] = {}

        def visit(path: Path, text: str) -> None:
            for name in INCLUDED.findall(text):
                places = (folder / name for folder in (path.parent, self.path.parent, INCLUDE))
                header = next((each.resolve() for each in places if each.is_file()), None)
                if header and header not in found:
                    found[header] = read_text(header)
                    visit(header, found[header])

        visit(self.path, self.text)
        return found

    def fingerprint(self) -> str:
        """Tells this text, with the texts of its headers, from all others."""
        return digest(self.text, *self.headers().values())


def read_source(path_or_source: str | os.PathLike, path: str | os.PathLike | None = None) -> Source:
    """A path, or CUDA C++ text, which is shown as ``source.cu``: a string with line breaks, or with braces if there is
    no file of that name.

    With ``path``, the first argument is text that stands for the content of that file: messages name it, and
    local headers are looked for beside it. Lines that come from other files say so with ``#line``.
    """
    text = os.fspath(path_or_source)
    if path is not None:
        return Source(Path(path).resolve(), text)
    is_text = isinstance(path_or_source, str) and ("\n" in text or ("{" in text and not os.path.isfile(text)))
    if is_text:
        return Source(Path("source.cu").absolute(), text)
    path = Path(text).resolve()
    if not path.is_file():
        raise FileNotFoundError(f"no such CUDA file: {path}")
    return Source(path, read_text(path))


def digest(*parts: str | bytes) -> str:
    """A short hash of the parts, which tells ("ab", "c") from ("a", "bc")."""
    h = hashlib.sha256()
    for part in parts:
        data = encoded(part) if isinstance(part, str) else part
        h.update(len(data).to_bytes(8, "little") + data)
    return h.hexdigest()[:20]


# ---- words


def is_code(token: str) -> bool:
    return not (token.isspace() or token.startswith(("//", "/*", '"', "'", 'R"')))


def strip_comments(text: str) -> str:
    """The text with comments and strings blanked, line breaks kept ("C" of extern "C" stays)."""

    def blank(token: str) -> str:
        keep = is_code(token) or token.isspace() or token == '"C"'
        return token if keep else "\n" * token.count("\n") or " "

    return "".join(blank(m.group()) for m in TOKEN.finditer(text))


def split_top_level(text: str, separator: str = ",") -> list[str]:
    """Splits at separators that are inside no bracket."""
    parts, depth, start = [], 0, 0
    for i, c in enumerate(text):
        depth += (c in "<([{") - (c in ">)]}")
        if c == separator and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    return [*parts, text[start:]]


# ---- #line, and the markers of a preprocessor


def preprocessed_parts(text: str) -> Iterator[tuple[str, bool]]:
    """What a preprocessor made, from marker to marker, and whether each part comes from a header of the system."""
    markers = list(MARKER.finditer(text))
    starts = [0, *(m.start() for m in markers)]
    # By file, as it was entered: within a file, the flag also comes and goes with macros of other files.
    of_system: dict[str, bool] = {}
    for marker in markers:
        of_system.setdefault(marker[2], "3" in marker[3].split())
    flags = [False, *(of_system[m[2]] for m in markers)]
    for start, end, flag in zip(starts, [*starts[1:], len(text)], flags, strict=True):
        yield text[start:end], flag


def without_system_headers(preprocessed: str) -> str:
    return "".join(part for part, of_system in preprocessed_parts(preprocessed) if not of_system)


def where_line(text: str, line: int, path: Path) -> tuple[str, int]:
    """The file and line (from 1) that line `line` of the text comes from; `path` is the file of the text itself."""
    file, offset = str(path), 0
    for number, content in enumerate(text.split("\n")[: line - 1], 1):
        if match := DIRECTIVE.match(content):
            file, offset = unquoted(match[2] or "") or file, int(match[1]) - number - 1
    return file, line + offset


def lines_by_file(text: str, path: Path) -> dict[str, list[str]]:
    """The lines of the text by the file that they come from, each in its place there; lines not seen are empty."""
    found: dict[str, list[str]] = {}
    file, offset = str(path), 0
    for number, content in enumerate(text.split("\n"), 1):
        if match := DIRECTIVE.match(content):
            file, offset = unquoted(match[2] or "") or file, int(match[1]) - number - 1
            continue
        lines, place = found.setdefault(file, []), number + offset
        lines += [""] * (place - len(lines))
        lines[place - 1] = content or lines[place - 1]
    return found
