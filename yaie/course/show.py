"""How the course's answers look: one `Panel` and one `Table`, each as HTML in a notebook and as text in a terminal."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from html import escape

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape as rich_escape
from rich.panel import Panel as RichPanel
from rich.table import Table as RichTable
from rich.text import Text

# tone -> (sign, colour); the sign says it too, so that nothing hangs on colour alone
TONES = {
    "neutral": ("•", "#0072B2"),
    "good": ("✓", "#00795a"),
    "bad": ("✗", "#b84300"),
    "open": ("○", "#6b6b6b"),
    "warn": ("!", "#8f6200"),
}


class _View:
    """Something that shows itself in a notebook and in a terminal."""

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": str(self)}

    def html(self) -> str:
        raise NotImplementedError

    def __repr__(self) -> str:
        return str(self)


@dataclass(repr=False)
class Panel(_View):
    """A title and labelled rows. `link` is (text, address relative to the notebook)."""

    title: str
    tone: str = "neutral"
    text: str = ""
    rows: list[tuple[str, str]] = field(default_factory=list)
    link: tuple[str, str] | None = None

    def html(self) -> str:
        sign, colour = TONES[self.tone]
        parts = [f'<b style="color:{colour}">{sign} {escape(self.title)}</b>']
        if self.text:
            parts.append(f"<div>{_html_text(self.text)}</div>")
        if self.rows:
            cells = "".join(
                f'<tr><td style="text-align:left;vertical-align:top;white-space:nowrap"><b>{escape(label)}</b></td>'
                f'<td style="text-align:left">{_html_text(text)}</td></tr>'
                for label, text in self.rows
            )
            parts.append(f'<table style="margin:6px 0 0 0">{cells}</table>')
        if self.link:
            parts.append(_html_link(*self.link))
        return (
            f'<div style="border-left:4px solid {colour};padding:6px 12px;margin:4px 0;max-width:860px">'
            + "".join(parts)
            + "</div>"
        )

    def __str__(self) -> str:
        lines = [f"{TONES[self.tone][0]} {self.title}"]
        lines += [f"  {line}" for line in self.text.splitlines()]
        width = max((len(label) for label, _ in self.rows), default=0)
        for label, text in self.rows:
            first, *rest = text.splitlines() or [""]
            lines.append(f"  {label:<{width}}  {first}")
            lines += [f"  {'':<{width}}  {line}" for line in rest]
        if self.link:
            lines.append(f"  Edit: {self.link[0]}")
        return "\n".join(lines)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        sign, colour = TONES[self.tone]
        grid = RichTable.grid(padding=(0, 2))
        grid.add_column(style="bold", no_wrap=True)
        grid.add_column()
        if self.text:
            yield_text = Text(self.text)
        for label, text in self.rows:
            grid.add_row(label, rich_escape(text))
        if self.link:
            grid.add_row("Edit", self.link[0])
        body = RichTable.grid()
        if self.text:
            body.add_row(yield_text)
        if self.rows or self.link:
            body.add_row(grid)
        yield RichPanel(
            body,
            title=f"{sign} {rich_escape(self.title)}",
            title_align="left",
            border_style=colour,
            width=100,
        )


@dataclass(repr=False)
class Table(_View):
    """Rows under headings; each row has a tone, whose sign stands first."""

    title: str
    headings: tuple[str, ...]
    rows: list[tuple[str, tuple[str, ...]]]  # (tone, cells)
    footer: str = ""

    def html(self) -> str:
        head = "".join(
            f'<th style="text-align:left">{escape(heading)}</th>' for heading in ("", *self.headings)
        )
        body = "".join(
            f'<tr><td style="color:{TONES[tone][1]}"><b>{TONES[tone][0]}</b></td>'
            + "".join(f'<td style="text-align:left">{_html_text(cell)}</td>' for cell in cells)
            + "</tr>"
            for tone, cells in self.rows
        )
        foot = f"<div>{_html_text(self.footer)}</div>" if self.footer else ""
        return f"<b>{escape(self.title)}</b><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{foot}"

    def __str__(self) -> str:
        rows = [("", *self.headings), *((TONES[tone][0], *cells) for tone, cells in self.rows)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = [self.title]
        for row in rows:
            lines.append(
                "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
            )
        return "\n".join([*lines, *([self.footer] if self.footer else [])])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = RichTable(title=rich_escape(self.title), title_justify="left", caption_justify="left")
        for heading in ("", *self.headings):
            table.add_column(heading)
        for tone, cells in self.rows:
            sign, colour = TONES[tone]
            table.add_row(Text(sign, style=colour), *(rich_escape(cell) for cell in cells))
        yield table
        if self.footer:
            yield Text(self.footer)


def _html_link(path: str, address: str) -> str:
    """A link to a file of the repository, and a button that opens it beside the notebook.

    The button is for JupyterLab with the repository as its root, as `make lab` starts it; the link works everywhere.
    """
    arguments = escape(json.dumps({"path": path, "options": {"mode": "split-right"}}))
    command = f'data-commandlinker-command="docmanager:open" data-commandlinker-args="{arguments}"'
    return (
        f'<div style="margin-top:6px">Edit: <a href="{escape(address)}">{escape(path)}</a> '
        f'<button {command} type="button">Open beside</button></div>'
    )


def _html_text(text: str) -> str:
    """Escaped text; `code` between backticks is set as code, lines stay lines."""
    html = re.sub(r"`([^`\n]+)`", r"<code>\1</code>", escape(text))
    return html.replace("\n", "<br>")
