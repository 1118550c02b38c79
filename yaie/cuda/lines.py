"""`#line` directives: which file and line a line of a text is said to come from.

A text that was put together from several files (a learner's function inside a file of the engine) names the origin of
each part with `#line`. The compilers obey; so must everything of ours that counts lines.
"""

from __future__ import annotations

import re
from pathlib import Path

DIRECTIVE = re.compile(r'^[ \t]*#[ \t]*line[ \t]+(\d+)(?:[ \t]+"([^"\n]*)")?')


def where_line(text: str, line: int, path: Path) -> tuple[str, int]:
    """The file and line (from 1) that line `line` of the text comes from; `path` is the file of the text itself."""
    file, offset = str(path), 0
    for number, content in enumerate(text.split("\n")[: line - 1], 1):
        if match := DIRECTIVE.match(content):
            file, offset = match[2] or file, int(match[1]) - number - 1
    return file, line + offset


def lines_by_file(text: str, path: Path) -> dict[str, list[str]]:
    """The lines of the text by the file that they come from, each in its place there; lines not seen are empty."""
    found: dict[str, list[str]] = {}
    file, offset = str(path), 0
    for number, content in enumerate(text.split("\n"), 1):
        if match := DIRECTIVE.match(content):
            file, offset = match[2] or file, int(match[1]) - number - 1
            continue
        lines, place = found.setdefault(file, []), number + offset
        lines += [""] * (place - len(lines))
        lines[place - 1] = content or lines[place - 1]
    return found
