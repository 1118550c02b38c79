"""The canvas of every figure: a small SVG writer whose output is the same bytes on every machine.

A `Figure` is shown in a notebook as an `<img>` with a base64 source, because JupyterLab drops inline SVG in a notebook
that is not trusted. Coordinates are integers. Colours are those of Okabe and Ito (2008), and a letter, a dash or a
hatch always says the same as the colour. The alt text carries the facts, so it is also what `print(figure)` shows.
"""

import base64
import math
import unicodedata
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

MAX_WIDTH = 900
MARGIN = 16
SMALL, BASE, TITLE = 12, 13, 15

INK, MUTED, RULE, GRID, PALE, WHITE = "#1a1a1a", "#4d4d4d", "#767676", "#d9d9d9", "#f2f2f2", "#ffffff"
BLUE, ORANGE, GREEN, PURPLE = "#0072b2", "#e69f00", "#009e73", "#cc79a7"
SKY, VERMILLION, YELLOW = "#56b4e9", "#d55e00", "#f0e442"
PALETTE = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILLION, YELLOW)
DASHES = ("", "8 4", "2 3", "10 3 2 3", "5 5", "1 4", "12 4")

_FONT = "DejaVu Sans, Verdana, Arial, sans-serif"
# Advance widths of DejaVu Sans (version 2.37) in thousandths of the font size, for the characters 32 to 126.
# fmt: off
_ADVANCE = (
    318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361, 318, 337,
    636, 636, 636, 636, 636, 636, 636, 636, 636, 636, 337, 337, 838, 838, 838, 531,
    1000, 684, 686, 698, 770, 632, 575, 775, 752, 295, 295, 656, 557, 863, 748, 787,
    603, 787, 695, 635, 611, 732, 684, 989, 685, 611, 685, 390, 337, 390, 838, 500,
    500, 613, 635, 550, 635, 615, 352, 635, 634, 278, 278, 579, 278, 974, 634, 612,
    635, 635, 411, 521, 392, 634, 592, 818, 592, 592, 525, 636, 337, 636, 838,
)
# fmt: on
# No glyph of the bold face is more than 1.27 times as wide as the regular one.
_BOLD = 1.27


class Box(NamedTuple):
    """The area of one drawn mark, in pixels: what the tests use to find cut or overlapping marks."""

    kind: str
    left: int
    top: int
    right: int
    bottom: int
    text: str = ""


def text_width(text: str, size: int = BASE, *, bold: bool = False) -> int:
    """Width in pixels that `text` needs at most in DejaVu Sans or Verdana (narrower in Arial)."""
    width = sum(_advance(char) for char in printable(text)) * size
    return math.ceil(width * (_BOLD if bold else 1) / 1000)


def _advance(char: str) -> int:
    if " " <= char <= "~":
        return _ADVANCE[ord(char) - 32]
    if unicodedata.combining(char):
        return 0
    return 1300 if unicodedata.east_asian_width(char) in "WF" else 1000


def printable(text: str) -> str:
    """`text` on one line, with control characters, lone surrogates and marks that turn text around replaced."""
    text = " ".join(str(text).splitlines())
    return "".join(" " if c == "\t" else c if _can_show(c) else "\ufffd" for c in text)


def _can_show(char: str) -> bool:
    turns_text = unicodedata.bidirectional(char) in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    return unicodedata.category(char) not in {"Cc", "Cs", "Cn", "Co"} and not turns_text


def fit(text: str, width: int, size: int = BASE, *, bold: bool = False) -> str:
    """`text`, or its longest beginning that is at most `width` pixels wide together with an ellipsis."""
    text = printable(text)
    if text_width(text, size, bold=bold) <= width:
        return text
    while text and text_width(text + "…", size, bold=bold) > width:
        text = text[:-1]
    return text.rstrip() + "…" if text_width("…", size, bold=bold) <= width else ""


def wrap(text: str, width: int, size: int = BASE, *, bold: bool = False) -> list[str]:
    """`text` broken at spaces into lines of at most `width` pixels; a longer word is cut with an ellipsis."""
    lines: list[str] = []
    for word in printable(text).split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, size, bold=bold) <= width:
            lines[-1] = longer
        else:
            lines.append(fit(word, width, size, bold=bold))
    return lines


def number(value: float) -> str:
    """A number for people: whole numbers with thousands separators, others with three significant digits."""
    if value == int(value) or abs(value) >= 1000:
        return f"{round(value):,}"
    return f"{value:.3g}"


def with_unit(value: float, unit: str) -> str:
    return f"{number(value)} {unit}".strip()


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def tint(color: str, strength: int = 40) -> str:
    """`color` mixed with white, `strength` percent of it left: pale enough for dark text."""
    channels = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{(c * strength + 255 * (100 - strength)) // 100:02x}" for c in channels)


def ink_on(fill: str) -> str:
    """White or near-black, whichever has the higher contrast (WCAG 2 relative luminance) on `fill`."""
    channels = (int(fill[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return WHITE if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.06 else INK


def require(condition: bool, message: str) -> None:
    """Raise `ValueError(message)` unless the condition holds; messages begin with 'function: argument'."""
    if not condition:
        raise ValueError(message)


def require_finite(value: float, where: str) -> float:
    """`value`, or a `ValueError` naming `where` when it is not a finite number."""
    try:
        finite = math.isfinite(value)
    except TypeError:
        finite = False
    require(finite, f"{where} is {value!r}; expected a finite number")
    return value


def pixel(value: float) -> int:
    """The nearest whole pixel; rounds twice so that the last bit of a machine's `log` or `sin` cannot show."""
    return math.floor(round(value, 4) + 0.5)


class Figure:
    """A picture of `width` x `height` pixels with its alt text. The origin is at the top left, y grows downwards."""

    def __init__(self, width: int, height: int, alt: str):
        self.width, self.height = pixel(width), pixel(height)
        self.alt = printable(alt)
        self.boxes: list[Box] = []
        self._body: list[str] = []

    def __str__(self) -> str:
        return self.alt

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.width}x{self.height}: {fit(self.alt, 400)}>"

    def rect(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        fill: str = WHITE,
        stroke: str = RULE,
        stroke_width: int = 1,
        dash: str = "",
        radius: int = 0,
        hatch: bool = False,
    ) -> None:
        """A rectangle; `hatch` draws diagonal lines over the fill. `stroke="none"` leaves out the border."""
        x, y, right, bottom = pixel(x), pixel(y), pixel(x + width), pixel(y + height)
        size = f'x="{x}" y="{y}" width="{right - x}" height="{bottom - y}"' + (f' rx="{radius}"' if radius else "")
        if hatch:
            self._body.append(f'<rect {size} fill="{fill}"/>')
            fill = "url(#hatch)"
        self._body.append(f'<rect {size} fill="{fill}"{_stroke(stroke, stroke_width, dash)}/>')
        self.boxes.append(Box("rect", x, y, right, bottom))

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: int = BASE,
        anchor: str = "start",
        fill: str = INK,
        bold: bool = False,
    ) -> None:
        """One line of text with its baseline at `y`; `anchor` is start, middle or end."""
        x, y, text = pixel(x), pixel(y), printable(text)
        width = text_width(text, size, bold=bold)
        left = x - {"start": 0, "middle": width // 2, "end": width}[anchor]
        more = (f' text-anchor="{anchor}"' if anchor != "start" else "") + (' font-weight="bold"' if bold else "")
        self._body.append(f'<text x="{x}" y="{y}" font-size="{size}" fill="{fill}"{more}>{escape(text)}</text>')
        self.boxes.append(Box("text", left, y - size * 3 // 4, left + width, y + size // 4, text))

    def label(self, x: float, y: float, width: float, height: float, text: str, **style: Any) -> None:
        """Text in the middle of the area given, shortened to fit it; nothing where not even an ellipsis fits."""
        size = style.get("size", BASE)
        shown = fit(text, pixel(width) - 2, size, bold=style.get("bold", False))
        if shown:
            self.text(x + width / 2, y + height / 2 + size * 0.36, shown, anchor="middle", **style)

    def line(self, x1: float, y1: float, x2: float, y2: float, *, stroke: str = RULE, width: int = 1, dash: str = ""):
        """A straight line."""
        self.polyline([(x1, y1), (x2, y2)], stroke=stroke, width=width, dash=dash)

    def polyline(
        self, points: Sequence[tuple[float, float]], *, stroke: str = RULE, width: int = 1, dash: str = ""
    ) -> None:
        """A line through all points."""
        points = [(pixel(x), pixel(y)) for x, y in points]
        path = " ".join(f"{x},{y}" for x, y in points)
        self._body.append(f'<polyline points="{path}" fill="none"{_stroke(stroke, width, dash)}/>')
        self.boxes.append(_hull("line", points))

    def polygon(self, points: Sequence[tuple[float, float]], *, fill: str, stroke: str = "none") -> None:
        """A closed, filled shape."""
        points = [(pixel(x), pixel(y)) for x, y in points]
        path = " ".join(f"{x},{y}" for x, y in points)
        self._body.append(f'<polygon points="{path}" fill="{fill}"{_stroke(stroke, 1, "")}/>')
        self.boxes.append(_hull("shape", points))

    def circle(self, x: float, y: float, radius: int, *, fill: str, stroke: str = "none", width: int = 1) -> None:
        """A filled circle."""
        x, y = pixel(x), pixel(y)
        self._body.append(f'<circle cx="{x}" cy="{y}" r="{radius}" fill="{fill}"{_stroke(stroke, width, "")}/>')
        self.boxes.append(Box("shape", x - radius, y - radius, x + radius, y + radius))

    def arrow(
        self, x1: float, y1: float, x2: float, y2: float, *, stroke: str = MUTED, width: int = 2, dash: str = ""
    ) -> None:
        """A line whose head ends at (x2, y2)."""
        length = math.hypot(x2 - x1, y2 - y1)
        if length == 0:
            return
        ux, uy, head = (x2 - x1) / length, (y2 - y1) / length, 6 + 2 * width
        base_x, base_y = x2 - ux * head, y2 - uy * head
        self.line(x1, y1, base_x, base_y, stroke=stroke, width=width, dash=dash)
        half = head * 0.45
        wings = [(base_x - uy * half, base_y + ux * half), (base_x + uy * half, base_y - ux * half)]
        self.polygon([(x2, y2), *wings], fill=stroke)

    def place(self, other: "Figure", x: float, y: float) -> None:
        """Draw another figure with its top left corner at (x, y); its alt text is not taken over."""
        x, y = pixel(x), pixel(y)
        self._body.append(f'<g transform="translate({x},{y})">{"".join(other._body)}</g>')
        self.boxes += [Box(b.kind, b.left + x, b.top + y, b.right + x, b.bottom + y, b.text) for b in other.boxes]

    def svg(self) -> str:
        """The picture as a complete SVG document."""
        body = "".join(self._body)
        hatch = _HATCH if "url(#hatch)" in body else ""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{self.height}" '
            f'viewBox="0 0 {self.width} {self.height}" font-family="{_FONT}" role="img">'
            f"<title>{escape(self.alt)}</title>{hatch}"
            f'<rect width="{self.width}" height="{self.height}" fill="{WHITE}"/>{body}</svg>'
        )

    def html(self) -> str:
        """The picture as an `<img>` that keeps its alt text and needs no trust and no network."""
        data = base64.b64encode(self.svg().encode()).decode()
        source = f"data:image/svg+xml;base64,{data}"
        return f'<img alt="{escape(self.alt)}" style="max-width:100%;height:auto" src="{source}">'

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self.html(), "text/plain": self.alt}

    def save(self, path: str | Path) -> Path:
        """Write the SVG document to `path` and return the path."""
        path = Path(path)
        path.write_text(self.svg(), encoding="utf-8", newline="\n")
        return path


_HATCH = (
    '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<line x1="0" y1="0" x2="0" y2="6" stroke="#b3b3b3" stroke-width="1"/></pattern></defs>'
)


def _stroke(color: str, width: int, dash: str) -> str:
    if color == "none":
        return ""
    return (
        f' stroke="{color}"'
        + (f' stroke-width="{width}"' if width != 1 else "")
        + (f' stroke-dasharray="{dash}"' if dash else "")
    )


def _hull(kind: str, points: Sequence[tuple[int, int]]) -> Box:
    xs, ys = [x for x, _ in points], [y for _, y in points]
    return Box(kind, min(xs), min(ys), max(xs), max(ys))


def titled(title: str, width: float, height: float, alt: str) -> tuple[Figure, int]:
    """A figure for a drawing of `width` x `height` pixels with `title` above it, and the y where the drawing begins.

    The margin on the left and at the bottom belongs to the drawing; a long title widens the figure, then wraps.
    """
    room = max(pixel(width), min(text_width(title, TITLE, bold=True) + 2 * MARGIN, 480))
    lines = wrap(title, room - 2 * MARGIN, TITLE, bold=True)
    top = MARGIN + len(lines) * 20 + 6 if lines else MARGIN // 2
    figure = Figure(room, top + height, f"{title.rstrip('.')}. {alt}" if title else alt)
    for row, line in enumerate(lines):
        figure.text(MARGIN, MARGIN + 14 + row * 20, line, size=TITLE, bold=True)
    return figure, top


class Key(NamedTuple):
    """One entry of a legend: a swatch and what it stands for."""

    text: str
    fill: str
    mark: str = ""
    hatch: bool = False
    dash: str = ""
    thick: bool = False


def legend_rows(keys: Sequence[Key], width: int) -> list[list[Key]]:
    """Legend entries broken into rows of at most `width` pixels."""
    rows: list[list[Key]] = [[]]
    for key in keys:
        used = sum(_key_width(k) for k in rows[-1])
        if rows[-1] and used + _key_width(key) > width:
            rows.append([])
        rows[-1].append(key)
    return [row for row in rows if row]


def legend_height(keys: Sequence[Key], width: int) -> int:
    return 26 * len(legend_rows(keys, width))


def draw_legend(figure: Figure, keys: Sequence[Key], x: int, y: int, width: int) -> None:
    """Swatches with their texts, from (x, y) downwards."""
    for row, entries in enumerate(legend_rows(keys, width)):
        left = x
        for key in entries:
            border = {"stroke": INK, "stroke_width": 2} if key.thick else {"stroke": RULE}
            figure.rect(left, y + row * 26, 22, 18, fill=key.fill, dash=key.dash, hatch=key.hatch, **border)
            figure.label(left, y + row * 26, 22, 18, key.mark, size=SMALL, fill=ink_on(key.fill))
            shown = fit(key.text, width - 30, SMALL)
            figure.text(left + 28, y + row * 26 + 13, shown, size=SMALL, fill=MUTED)
            left += _key_width(key)


def _key_width(key: Key) -> int:
    return 28 + text_width(key.text, SMALL) + 20


def filmstrip(
    figures: Sequence[Figure], captions: Sequence[str], *, columns: int | None = None, title: str = ""
) -> Figure:
    """Several figures as one, each under its numbered caption: side by side as far as they fit, then in rows.

    `columns` fixes how many stand in a row. The alt text joins the captions and the figures' own alt texts.
    """
    figures = list(figures)
    require(len(figures) > 0, "filmstrip: figures is empty; expected at least one figure")
    require(
        len(captions) == len(figures),
        f"filmstrip: captions has {len(captions)} entries for {plural(len(figures), 'figure')}; expected one each",
    )
    require(columns is None or columns >= 1, f"filmstrip: columns is {columns}; expected at least 1")
    gap, widest = MARGIN, max(f.width for f in figures)
    columns = min(columns or max(1, (MAX_WIDTH - gap) // (widest + gap)), len(figures))
    heads = [wrap(f"{i}. {text}", widest - 2 * MARGIN, BASE, bold=True) for i, text in enumerate(captions, 1)]
    rows = [range(start, min(start + columns, len(figures))) for start in range(0, len(figures), columns)]
    heights = [max(len(heads[i]) * 18 + 14 + figures[i].height for i in row) for row in rows]
    alt = " ".join(
        f"{i}. {text.rstrip('.')}: {figure.alt}"
        for i, (text, figure) in enumerate(zip(captions, figures, strict=True), 1)
    )
    width, height = gap + columns * (widest + gap), sum(heights) + gap * len(rows)
    strip, top = titled(title, width, height, f"{plural(len(figures), 'picture')}. {alt}")
    for row, row_height in zip(rows, heights, strict=True):
        head = max(len(heads[i]) for i in row) * 18 + 14
        for column, i in enumerate(row):
            x = gap + column * (widest + gap)
            strip.rect(x, top, widest, row_height, stroke=GRID, radius=4)
            for number_, line in enumerate(heads[i]):
                strip.text(x + MARGIN, top + 22 + number_ * 18, line, bold=True)
            strip.place(figures[i], x, top + head)
        top += row_height + gap
    return strip
