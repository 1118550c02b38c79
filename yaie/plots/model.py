"""Pictures of the model: matrices and masks, the rotation of RoPE, and shapes on their way through a block."""

import math
from collections.abc import Sequence
from typing import Any

from yaie.plots.svg import (
    BLUE,
    MARGIN,
    MUTED,
    ORANGE,
    PALE,
    RULE,
    SMALL,
    WHITE,
    Figure,
    Key,
    draw_legend,
    fit,
    legend_height,
    plural,
    require,
    text_width,
    tint,
    titled,
)


def matrix(
    values: Any,
    *,
    mask: Any = None,
    row_labels: Sequence[str] | None = None,
    col_labels: Sequence[str] | None = None,
    row_title: str = "",
    col_title: str = "",
    digits: int = 2,
    title: str = "",
) -> Figure:
    """A small grid of numbers, shaded by size: blue for positive, orange for negative.

    values: rows of numbers, or of booleans (a mask by itself: True is "may attend"); a tensor or array with two axes
    will do. None leaves a cell empty.
    mask: rows of booleans of the same shape; cells where it is False are hatched and their value is not shown.
    digits: decimals, unless all values are whole.
    """
    grid = _grid("values", values)
    allowed = _grid("mask", mask) if mask is not None else [[True] * len(grid[0]) for _ in grid]
    require(
        (len(allowed), len(allowed[0])) == (len(grid), len(grid[0])),
        f"matrix: mask is {len(allowed)} x {len(allowed[0])}; expected {len(grid)} x {len(grid[0])} like values",
    )
    is_mask = all(isinstance(v, bool) for row in grid for v in row)
    if is_mask:
        allowed = [[a and v for a, v in zip(*pair, strict=True)] for pair in zip(allowed, grid, strict=True)]
    rows = _labels("row_labels", row_labels, len(grid))
    cols = _labels("col_labels", col_labels, len(grid[0]))
    if all(v is None or not math.isfinite(v) or v == int(v) for row in grid for v in row):
        digits = 0
    texts = [
        [_cell_text(value, open_, is_mask, digits) for value, open_ in zip(*pair, strict=True)]
        for pair in zip(grid, allowed, strict=True)
    ]
    alt = _matrix_alt(texts, rows, cols, row_title, col_title, is_mask)
    return _draw_matrix(grid, allowed, texts, rows, cols, row_title, col_title, title, alt)


def _grid(name: str, values: Any) -> list[list[Any]]:
    """Rows as lists; tensors and arrays through their `tolist`."""
    rows = values.tolist() if hasattr(values, "tolist") else values
    try:
        grid = [list(row) for row in rows]
    except TypeError:
        raise ValueError(f"matrix: {name} is not a sequence of rows; expected two axes") from None
    require(
        bool(grid) and bool(grid[0]), f"matrix: {name} is empty; expected at least one row and one column"
    )
    for i, row in enumerate(grid):
        require(
            len(row) == len(grid[0]),
            f"matrix: {name}[{i}] has {len(row)} columns and {name}[0] has {len(grid[0])}",
        )
    return grid


def _labels(name: str, labels: Sequence[str] | None, count: int) -> list[str]:
    labels = [str(i) for i in range(count)] if labels is None else [str(label) for label in labels]
    require(len(labels) == count, f"matrix: {name} has {len(labels)} entries; expected {count}")
    return labels


def _cell_text(value: Any, allowed: bool, is_mask: bool, digits: int) -> str:
    if value is None or not allowed:
        return ""
    if is_mask:
        return "1"
    if math.isinf(value) or math.isnan(value):
        return str(value).replace("-", "−").replace("inf", "∞")
    return f"{value:,.{digits}f}".replace("-", "−")


def _draw_matrix(
    grid: list[list[Any]],
    allowed: list[list[bool]],
    texts: list[list[str]],
    rows: list[str],
    cols: list[str],
    row_title: str,
    col_title: str,
    title: str,
    alt: str,
) -> Figure:
    widest = max(text_width(t) for row in [*texts, cols] for t in row)
    cell, height = min(max(widest + 12, 34), 90), 32
    side = min(max(text_width(r) for r in rows) + 10, 140)
    axes = ", ".join(
        t for t in (row_title and f"rows: {row_title}", col_title and f"columns: {col_title}") if t
    )
    hidden = any(not a for row in allowed for a in row)
    keys = [Key("hidden by the mask", PALE, hatch=True)] if hidden else []
    inner = max(side + cell * len(cols), text_width(axes, SMALL), 200)
    top_rows = (22 if col_title or row_title else 0) + 22
    size = (inner + 2 * MARGIN, top_rows + height * len(rows) + 14 + legend_height(keys, inner))
    figure, top = titled(title, *size, alt)
    figure.text(MARGIN, top + 13, axes, size=SMALL, fill=MUTED)
    left, first = MARGIN + side, top + top_rows
    for c, name in enumerate(cols):
        figure.label(left + c * cell, first - 22, cell, 22, name, size=SMALL, fill=MUTED)
    scale = max((abs(v) for row in grid for v in row if v is not None and math.isfinite(v)), default=0) or 1
    for r, name in enumerate(rows):
        y = first + r * height
        figure.text(left - 8, y + 21, fit(name, side - 8), anchor="end", fill=MUTED)
        for c, value in enumerate(grid[r]):
            fill = _shade(value, scale) if allowed[r][c] else PALE
            figure.rect(left + c * cell, y, cell, height, fill=fill, stroke=WHITE, hatch=not allowed[r][c])
            figure.label(left + c * cell, y, cell, height, texts[r][c])
    figure.rect(left, first, cell * len(cols), height * len(rows), fill="none", stroke=RULE)
    draw_legend(figure, keys, MARGIN, first + height * len(rows) + 10, inner)
    return figure


def _shade(value: float | None, scale: float) -> str:
    if value is None or not math.isfinite(value) or value == 0:
        return WHITE
    return tint(BLUE if value > 0 else ORANGE, 8 + int(round(47 * min(abs(value) / scale, 1), 6)))


def _matrix_alt(
    texts: list[list[str]], rows: list[str], cols: list[str], row_title: str, col_title: str, is_mask: bool
) -> str:
    axes = (
        f" Rows: {row_title or 'rows'}; columns: {col_title or 'columns'}." if row_title or col_title else ""
    )
    lines = []
    for name, row in zip(rows, texts, strict=True):
        open_ = [col for col, text in zip(cols, row, strict=True) if text]
        if is_mask:
            lines.append(f"{name}: open to {', '.join(open_) or 'nothing'}")
        else:
            lines.append(f"{name}: " + ", ".join(text or "hidden" for text in row))
    return (
        f"A grid of {plural(len(rows), 'row')} and {plural(len(cols), 'column')}.{axes} "
        + "; ".join(lines)
        + "."
    )
