"""How the course's answers look: a `Panel`, a `Table` or `Folds`, each as HTML in a notebook and as text in a terminal.

Buttons are commands of JupyterLab, named in the HTML. They need neither a script nor a widget, so they work in a
notebook as it was stored, before anything has been run: a widget would be gone with the kernel that made it.

What a learner may do is written as a command between backticks: `yaie hint 1.2`. A notebook shows the call instead.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from typing import Any

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
COMMAND = re.compile(r"`yaie (check|hint|reset|board|cache|doctor|update)(?: ([\d.]+))?`")
TALK = re.compile(r"`yaie chat --exercises(?: --backend (\w+))?`")


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
        if what is None or "." not in what:  # of everything, or of a lesson
            return f"`yaie.{name}({json.dumps(what) if what else ''})`"
        return f'`yaie.exercise("{what}").{name}()`'

    def whose(match: re.Match[str]) -> str:
        backend = f', backend="{match[1]}"' if match[1] else ""
        return f'`yaie.LLM(parts="exercises"{backend}).parts`'

    return type(text)(TALK.sub(whose, COMMAND.sub(call, text)))


class _View:
    """Something that shows itself in a notebook and in a terminal."""

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": in_notebook(str(self))}

    def html(self) -> str:
        raise NotImplementedError

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

    def html(self) -> str:
        parts = [f"<b>{_html_sign(self.tone)} {escape(self.title)}</b>"]
        if self.text:
            parts.append(f"<div>{_html_text(self.text)}</div>")
        if self.rows:
            cells = "".join(
                f'<tr><td style="{CELL};white-space:nowrap"><b>{escape(label)}</b></td>'
                f'<td style="{CELL}">{_html_text(text)}</td></tr>'
                for label, text in self.rows
            )
            parts.append(f'<table style="margin:6px 0 0 0;color:inherit">{cells}</table>')
        if self.link:
            parts.append(_html_link(self.link))
        if self.calls:
            parts.append(f'<div style="margin-top:6px">{" ".join(_html_call(*call) for call in self.calls)}</div>')
        style = f"border-left:4px solid {TONES[self.tone][1]};padding:6px 12px;margin:4px 0;max-width:860px"
        return f'<div style="{style}">{"".join(parts)}</div>'

    def __str__(self) -> str:
        lines = [f"{TONES[self.tone][0]} {self.title}"]
        lines += [f"  {line}" for line in self.text.splitlines()]
        rows = self._all_rows()
        width = max((len(label) for label, _ in rows), default=0)
        for label, text in rows:
            first, *rest = text.splitlines() or [""]
            lines.append(f"  {label:<{width}}  {first}".rstrip())
            lines += [f"  {'':<{width}}  {line}".rstrip() for line in rest]
        return "\n".join(lines)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        sign, colour = TONES[self.tone]
        grid = RichTable.grid(padding=(0, 2, 0, 0))
        grid.add_column(style="bold", no_wrap=True)
        grid.add_column(overflow="fold")
        for label, text in self._all_rows():
            grid.add_row(Text(label), Text(text))
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


@dataclass(repr=False)
class Table(_View):
    """Rows under headings; each row has a tone, whose sign stands first."""

    title: str
    headings: tuple[str, ...]
    rows: list[tuple[str, tuple[str, ...]]]  # (tone, cells)
    footer: str = ""

    def html(self) -> str:
        head = "".join(f'<th style="{CELL}">{escape(heading)}</th>' for heading in ("", *self.headings))
        foot = f"<div>{_html_text(self.footer)}</div>" if self.footer else ""
        table = (
            f'<table style="color:inherit"><thead><tr>{head}</tr></thead><tbody>{_html_rows(self.rows)}</tbody></table>'
        )
        return f'<div style="margin:4px 0 12px 0"><b>{escape(self.title)}</b>{table}{foot}</div>'

    def __str__(self) -> str:
        rows = [("", *self.headings), *((TONES[tone][0], *cells) for tone, cells in self.rows)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [self.title]
        for row in rows:
            lines.append("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
        return "\n".join([*lines, *([self.footer] if self.footer else [])])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for heading in ("", *self.headings):
            table.add_column(heading, overflow="fold")
        for tone, cells in self.rows:
            table.add_row(Text(*TONES[tone]), *map(Text, cells))
        yield Text(self.title, style="bold")
        yield table
        if self.footer:
            yield Text(self.footer)


class Views(_View, list[_View]):
    """Several, one below the other."""

    def html(self) -> str:
        return "".join(view.html() for view in self)

    def __str__(self) -> str:
        return "\n".join(map(str, self))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self


@dataclass(frozen=True)
class Fold:
    """Rows, each with a tone, under a title that says how many of them are good. Shown where `is_open`."""

    title: str
    rows: list[tuple[str, tuple[str, ...]]]
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

    def html(self) -> str:
        parts = [f"<b>{escape(self.title)}</b>"]
        for fold in self.folds:
            head = f"{_html_bar(fold.tones)} {escape(fold.title)} <small>{fold.count}</small>"
            opened = " open" if fold.is_open else ""
            rows = f'<table style="color:inherit;margin:2px 0 8px 24px"><tbody>{_html_rows(fold.rows)}</tbody></table>'
            summary = f'<summary style="cursor:pointer;margin:2px 0">{head}</summary>'
            parts.append(f"<details{opened}>{summary}{rows if fold.rows else ''}</details>")
        parts.append(f'<div style="margin-top:6px">{_html_text(self.footer)}</div>' if self.footer else "")
        parts.append(_html_link(self.link, "Go on in") if self.link else "")
        parts.append(self.panel.html() if self.panel else "")
        return f'<div style="margin:4px 0 12px 0">{"".join(parts)}</div>'

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
            cells = [row for _, row in fold.rows]
            widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
            for tone, row in fold.rows if fold.is_open else ():
                padded = "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
                yield Text.assemble("    ", TONES[tone], f" {padded}")
        yield from map(Text, self.footer.splitlines())


def _html_bar(tones: list[str]) -> str:
    """As many parts as there are tones, in their colours."""
    width = f"{100 / max(len(tones), 1):.3f}%"
    part = "display:inline-block;height:10px;box-sizing:border-box;border-right:1px solid transparent"
    colours = [TONES[tone][1] if tone != "open" else "transparent" for tone in tones]
    parts = "".join(f'<span style="{part};width:{width};background-color:{colour}"></span>' for colour in colours)
    bar = "display:inline-block;width:120px;height:12px;border:1px solid #6b6b6b;line-height:0;overflow:hidden"
    return f'<span style="{bar};white-space:nowrap;vertical-align:middle;margin-right:6px">{parts}</span>'


def _html_rows(rows: list[tuple[str, tuple[str, ...]]]) -> str:
    """Table rows, with the sign of each tone first."""
    html = ""
    for tone, cells in rows:
        columns = "".join(f'<td style="{CELL}">{_html_text(cell)}</td>' for cell in cells)
        html += f'<tr><td style="{CELL}">{_html_sign(tone)}</td>{columns}</tr>'
    return html


def _html_sign(tone: str) -> str:
    sign, colour = TONES[tone]
    return f'<b style="color:{colour}">{sign}</b>'


def _html_link(path: str, label: str = "Edit") -> str:
    """A link to a file of the repository, and a button that opens it beside the notebook.

    The button is for JupyterLab with the repository as its root, as `make lab` starts it; the link works everywhere. To
    a file elsewhere there is neither: its whole path is shown.
    """
    if path.startswith("/"):
        return f'<div style="margin-top:6px">{label}: <code>{escape(path)}</code></div>'
    button = _html_button("Open beside", "docmanager:open", {"path": path, "options": {"mode": "split-right"}})
    return f'<div style="margin-top:6px">{label}: <a href="../{escape(path)}">{escape(path)}</a> {button}</div>'


def _html_call(label: str, call: str) -> str:
    """A button that makes the call in a new cell, right below the cell in which the button is."""
    commands = ["notebook:insert-cell-below", "notebook:replace-selection", "notebook:run-cell"]
    all_get = {"text": f"import yaie\n{call}"}  # the notebook may have been opened a moment ago
    return _html_button(label, "apputils:run-all-enabled", {"commands": commands, "args": all_get}, title=call)


def _html_button(label: str, command: str, arguments: dict[str, Any], title: str = "") -> str:
    linked = f'data-commandlinker-command="{command}" data-commandlinker-args="{escape(json.dumps(arguments))}"'
    return f'<button {linked} title="{escape(title or label)}" type="button">{escape(label)}</button>'


def _html_text(text: str) -> str:
    """Escaped text; `code` between backticks is set as code, lines and the spaces in them stay."""
    text = in_notebook(text)
    if isinstance(text, Markdown):
        return text.html()
    html = re.sub(r"`([^`\n]+)`", r"<code>\1</code>", escape(text))
    return f'<span style="white-space:pre-wrap">{html}</span>' if "\n" in text else html
