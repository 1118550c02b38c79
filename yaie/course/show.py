"""How the course's answers look: a `Panel`, a `Table` or `Folds`, each as HTML in a notebook and as text in a terminal.

The HTML is in show.html. What a learner may do is written as a command between backticks, `yaie hint 1.2`: a notebook
shows the call instead.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import jinja2
from markdown_it import MarkdownIt
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.markdown import Markdown as RichMarkdown
from rich.panel import Panel as RichPanel
from rich.table import Table as RichTable
from rich.text import Text

# tone -> (sign, colour). The sign says it too, so that nothing hangs on colour alone; each colour has a contrast of at
# least 3:1 against white and against near-black, and words are left in the reader's own colour.
TONES = {
    "neutral": ("•", "#0072B2"),
    "good": ("✓", "#00795a"),
    "bad": ("✗", "#b84300"),
    "open": ("○", "#6b6b6b"),
    "warn": ("!", "#8f6200"),
}
WIDTH = 100  # columns that a panel takes at most; longer lines are hard to read
CELL = "text-align:left;vertical-align:top"
# A notebook sets tables to the right and breaks the lines of code.
STYLES = {"th": CELL, "td": CELL, "table": "color:inherit", "pre": "white-space:pre;overflow-x:auto;margin:0 0 12px 0"}
COMMAND = re.compile(r"`yaie (check|hint|reset|board|cache|doctor|update|chat --exercises)(?: (?:--\w+ )?([\w.]+))?`")


class Markdown(str):
    """A text of the course's own, such as a statement, that is shown formatted. HTML in it is shown as it is written.

    A plain str is shown letter by letter, apart from `code` between backticks: what a learner wrote or printed.
    """

    def html(self) -> str:
        html = MarkdownIt("commonmark", {"html": False}).enable("table").render(self)
        for tag, style in STYLES.items():
            html = html.replace(f"<{tag}>", f'<{tag} style="{style}">')
        return html


def in_notebook(text: str) -> str:
    """The text with calls instead of commands."""

    def call(match: re.Match[str]) -> str:
        name, what = match.groups()
        if name == "chat --exercises":
            backend = f', backend="{what}"' if what else ""
            return f'`yaie.LLM(parts="exercises"{backend}).parts`'
        if what is None or "." not in what:  # of everything, or of a lesson
            return f"`yaie.{name}({json.dumps(what) if what else ''})`"
        return f'`yaie.exercise("{what}").{name}()`'

    return type(text)(COMMAND.sub(call, text))


def _shown(text: str) -> str:
    """A text as HTML; `code` between backticks is set as code, lines and the spaces in them stay."""
    text = in_notebook(text)
    if isinstance(text, Markdown):
        return text.html()
    html = re.sub(r"`([^`\n]+)`", r"<code>\1</code>", escape(text))
    return f'<span style="white-space:pre-wrap">{html}</span>' if "\n" in text else html


_environment = jinja2.Environment()
_environment.filters |= {"e": escape, "shown": _shown, "json": json.dumps}
_environment.globals |= {"TONES": TONES, "CELL": CELL}
_template = Path(__file__).with_name("show.html").read_text(encoding="utf-8")
_html = _environment.from_string("".join(map(str.strip, _template.splitlines()))).module


class _View:
    """Something that shows itself in a notebook and in a terminal."""

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": in_notebook(str(self))}

    def html(self) -> str:
        return getattr(_html, type(self).__name__)(self)

    def __repr__(self) -> str:
        return str(self)


@dataclass(repr=False)
class Panel(_View):
    """A title and labelled rows.

    `link` is a file to edit: from the root of the repository (notebooks lie a folder deep), or its whole path. `calls`
    are buttons of a notebook: a label, and the call that it makes in a cell below.
    """

    title: str
    tone: str = "neutral"
    text: str = ""
    rows: list[tuple[str, str]] = field(default_factory=list)
    link: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        rows = self._all_rows()
        width = max((len(label) for label, _ in rows), default=0)
        lines = [f"  {line}" for line in self.text.splitlines()]
        for label, text in rows:
            for line in text.splitlines() or [""]:
                lines.append(f"  {label:<{width}}  {line}".rstrip())
                label = ""
        return "\n".join([f"{TONES[self.tone][0]} {self.title}", *lines])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        sign, colour = TONES[self.tone]
        grid = RichTable.grid(padding=(0, 2, 0, 0))
        grid.add_column(style="bold", no_wrap=True)
        grid.add_column(overflow="fold")
        for row in self._all_rows():
            grid.add_row(*map(Text, row))
        text = RichMarkdown(self.text) if isinstance(self.text, Markdown) else Text(self.text)
        body = [text] * bool(self.text) + [grid] * bool(grid.row_count)
        # The title is a line of its own inside, not part of the frame, which would cut it at the frame's width.
        yield RichPanel(
            Group(Text.assemble((sign, colour), " ", (self.title, "bold")), *body),
            border_style=colour,
            width=min(WIDTH, options.max_width),
        )

    def _all_rows(self) -> list[tuple[str, str]]:
        return [*self.rows, *([("Edit", self.link)] if self.link else [])]


Row = tuple[str, tuple[str, ...]]  # its tone, whose sign stands first, and its cells


@dataclass(repr=False)
class Table(_View):
    """Rows under headings."""

    title: str
    headings: tuple[str, ...]
    rows: list[Row]
    footer: str = ""

    def __str__(self) -> str:
        rows = _aligned([("", *self.headings), *((TONES[tone][0], *cells) for tone, cells in self.rows)])
        return "\n".join([self.title, *map(str.rstrip, rows), *([self.footer] if self.footer else [])])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for heading in ("", *self.headings):
            table.add_column(heading, overflow="fold")
        for tone, cells in self.rows:
            table.add_row(Text(*TONES[tone]), *map(Text, cells))
        yield Text(self.title, style="bold")
        yield table
        yield from map(Text, self.footer.splitlines())


def _aligned(rows: list[tuple[str, ...]]) -> Iterable[str]:
    """The rows as lines, with the cells of a column below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ("  ".join(map(str.ljust, row, widths)) for row in rows)


class Views(_View, list[_View]):
    """Several, one below the other."""

    def __str__(self) -> str:
        return "\n".join(map(str, self))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self


@dataclass(frozen=True)
class Fold:
    """Rows under a title that says how many of them are good. Shown where `is_open`."""

    title: str
    rows: list[Row]
    is_open: bool

    @property
    def tones(self) -> list[str]:
        return [tone for tone, _ in self.rows]

    @property
    def count(self) -> str:
        return f"{self.tones.count('good')} of {len(self.rows)}" if self.rows else ""


@dataclass(repr=False)
class Folds(_View):
    """A bar for each fold, a part of it for each row; a notebook opens those that are clicked on.

    `link` is a file of the repository to go on with, in a notebook; `panel` stands below.
    """

    title: str
    folds: list[Fold]
    footer: str = ""
    link: str = ""
    panel: Panel | None = None

    def __str__(self) -> str:
        lines = [line.plain.rstrip() for line in self._lines()]
        return "\n".join([*lines, *([str(self.panel)] if self.panel else [])])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self._lines()
        if self.panel:
            yield self.panel

    def _lines(self) -> Iterator[Text]:
        yield Text(self.title, style="bold")
        longest = max((len(fold.title) for fold in self.folds), default=0)
        for fold in self.folds:
            bar = [("■" if tone == "good" else "□", TONES[tone][1]) for tone in fold.tones]
            yield Text.assemble(f"{fold.title:<{longest}}  {fold.count:<9}", *bar)
            rows = zip(fold.tones, _aligned([cells for _, cells in fold.rows]), strict=True)
            yield from (Text.assemble("    ", TONES[tone], f" {row}") for tone, row in rows if fold.is_open)
        yield from map(Text, self.footer.splitlines())
