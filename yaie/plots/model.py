"""Pictures of the model: matrices and masks, the rotation of RoPE, and shapes through a block."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from yaie.plots.svg import (
    BLUE,
    GRID,
    MARGIN,
    MAX_WIDTH,
    MUTED,
    ORANGE,
    PALE,
    PALETTE,
    RULE,
    SMALL,
    VERMILLION,
    WHITE,
    Box,
    Figure,
    Key,
    draw_legend,
    fit,
    legend_height,
    number,
    pixel,
    plural,
    require,
    require_finite,
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
    alt = _matrix_alt(texts, allowed, rows, cols, row_title, col_title, is_mask)
    return _draw_matrix(grid, allowed, texts, rows, cols, row_title, col_title, title, alt)


def _grid(name: str, values: Any) -> list[list[Any]]:
    """Rows as lists; tensors and arrays through their `tolist`."""
    rows = values.tolist() if hasattr(values, "tolist") else values
    try:
        grid = [list(row) for row in rows]
    except TypeError:
        raise ValueError(f"matrix: {name} is not a sequence of rows; expected two axes") from None
    require(bool(grid) and bool(grid[0]), f"matrix: {name} is empty; expected at least one row and one column")
    for i, row in enumerate(grid):
        require(
            len(row) == len(grid[0]), f"matrix: {name}[{i}] has {len(row)} columns and {name}[0] has {len(grid[0])}"
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
    axes = ", ".join(t for t in (row_title and f"rows: {row_title}", col_title and f"columns: {col_title}") if t)
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
    texts: list[list[str]],
    allowed: list[list[bool]],
    rows: list[str],
    cols: list[str],
    row_title: str,
    col_title: str,
    is_mask: bool,
) -> str:
    axes = f" Rows: {row_title or 'rows'}; columns: {col_title or 'columns'}." if row_title or col_title else ""
    lines = []
    for name, row, shown in zip(rows, texts, allowed, strict=True):
        open_ = [col for col, text in zip(cols, row, strict=True) if text]
        if is_mask:
            lines.append(f"{name}: open to {', '.join(open_) or 'nothing'}")
        else:
            lines.append(
                f"{name}: "
                + ", ".join(text or ("empty" if seen else "hidden") for text, seen in zip(row, shown, strict=True))
            )
    return f"A grid of {plural(len(rows), 'row')} and {plural(len(cols), 'column')}.{axes} " + "; ".join(lines) + "."


def rotation(
    positions: Sequence[int] | Mapping[str, int],
    *,
    thetas: Sequence[float] = (1.0,),
    vector: tuple[float, float] = (1.0, 0.0),
    title: str = "RoPE turns a pair by position times theta",
) -> Figure:
    """One circle per frequency: the same vector, turned to where each position puts it (counter-clockwise).

    positions: token positions, or label -> position. thetas: radians per position, one per pair of dimensions.
    """
    named = positions if isinstance(positions, Mapping) else {f"p={p}": p for p in positions}
    require(len(named) > 0, "rotation: positions is empty; expected at least one position")
    require(len(thetas) > 0, "rotation: thetas is empty; expected at least one angle in radians")
    require(math.hypot(*vector) > 0, "rotation: vector is (0, 0); expected a direction")
    start = math.atan2(vector[1], vector[0])
    panels = [_circle(named, theta, start, i) for i, theta in enumerate(thetas)]
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    width, height = panels[0].width, panels[0].height
    alt = " ".join(panel.alt for panel in panels)
    figure, top = titled(title, columns * width, rows * height, alt)
    for i, panel in enumerate(panels):
        figure.place(panel, i % columns * width, top + i // columns * height)
    return figure


def _circle(named: Mapping[str, int], theta: float, start: float, index: int) -> Figure:
    """One panel: axes, circle, an arrow and a label per position; a line joins a label that had to move to its tip."""
    require_finite(theta, f"rotation: thetas[{index}]")
    angles = {name: start + position * theta for name, position in named.items()}
    facts = ", ".join(f"{name} at {_degrees(angle)}" for name, angle in angles.items())
    figure = Figure(280, 284, f"Pair {index}, {_degrees(theta, wrap=False)} per position: {facts}.")
    x, y, radius = 140, 136, 90
    figure.circle(x, y, radius, fill=WHITE, stroke=GRID)
    figure.line(x - radius - 8, y, x + radius + 8, y, stroke=GRID)
    figure.line(x, y - radius - 8, x, y + radius + 8, stroke=GRID)
    taken: list[Box] = []
    for i, (name, angle) in enumerate(angles.items()):
        tip = (x + math.cos(angle) * radius, y - math.sin(angle) * radius)
        figure.arrow(x, y, *tip, stroke=PALETTE[i % len(PALETTE)], width=3)
        if spot := _label_spot(x, y, angle, text_width(name, SMALL) // 2, taken):
            figure.line(*tip, spot[0], spot[1], stroke=RULE)
            _tip_label(figure, spot, name, taken)
    words = f"pair {index}: {_degrees(theta, wrap=False)} per position"
    figure.text(x, 268, words, size=SMALL, anchor="middle", fill=MUTED)
    return figure


def _label_spot(x: int, y: int, angle: float, half: int, taken: Sequence[Box]) -> tuple[float, float] | None:
    """Where a label of half-width `half` may stand: beyond the arrow's tip, or further on around the circle."""
    for side in (1, -1):
        for turn in range(13):
            ux, uy = math.cos(angle + side * turn * 0.12), -math.sin(angle + side * turn * 0.12)
            px, py = x + ux * (104 + half * abs(ux)), y + uy * (104 + half * abs(ux))
            own = Box("text", *(pixel(v) for v in (px - half - 4, py - 9, px + half + 4, py + 9)))
            if own.left >= 0 and own.right <= 280 and not any(_overlap(own, other) for other in taken):
                return px, py
    return None


def _overlap(a: Box, b: Box) -> bool:
    return a.left < b.right and b.left < a.right and a.top < b.bottom and b.top < a.bottom


def _tip_label(figure: Figure, spot: tuple[float, float], name: str, taken: list[Box]) -> None:
    half = text_width(name, SMALL) // 2
    box = Box("text", *(pixel(v) for v in (spot[0] - half - 4, spot[1] - 9, spot[0] + half + 4, spot[1] + 9)))
    figure.rect(box.left, box.top, box.right - box.left, 18, fill=WHITE, stroke="none")
    figure.text(spot[0], spot[1] + 4, name, size=SMALL, anchor="middle")
    taken.append(box)


def _degrees(angle: float, *, wrap: bool = True) -> str:
    degrees = round(math.degrees(angle), 6)
    degrees = degrees % 360 if wrap else degrees
    return f"{number(round(degrees, 1))}°"


class FlowStep(NamedTuple):
    """A box of a flow: its name, the shape of what leaves it, and a remark that stands beside it."""

    name: str
    shape: str
    note: str = ""


def flow(
    steps: Sequence[FlowStep | tuple], *, skips: Sequence[tuple[int, int]] = (), title: str = "Shapes through the block"
) -> Figure:
    """Boxes from top to bottom, each with the shape that leaves it; `skips` are residual connections.

    steps: `FlowStep`s or tuples (name, shape[, note]). skips: (i, j): what leaves step i also goes into step j.
    """
    boxes = [FlowStep(*step) for step in steps]
    require(len(boxes) > 0, "flow: steps is empty; expected at least one (name, shape)")
    for skip in skips:
        ok = 0 <= skip[0] < skip[1] < len(boxes)
        require(ok, f"flow: skips holds {skip}; expected (i, j) with 0 <= i < j < {len(boxes)}")
    lanes = _lanes(skips)
    left = MARGIN + 26 * (max(lanes.values(), default=-1) + 1)
    inside = max(text_width(b.name, bold=True) + text_width(b.shape) for b in boxes) + 48
    width = min(max(inside, 240), 620)
    beside = min(max(text_width(b.note, SMALL) for b in boxes), MAX_WIDTH - left - width - 14 - MARGIN)
    pitch, height = 54, 34
    size = (left + width + (beside + 14 if beside else 0) + MARGIN, pitch * len(boxes) - 20 + MARGIN)
    figure, top = titled(title, *size, _flow_alt(boxes, skips))
    for i, box in enumerate(boxes):
        _flow_box(figure, left, top + i * pitch, width, height, box, any(j == i for _, j in skips))
        figure.text(
            left + width + 14, top + i * pitch + 22, fit(box.note, max(beside, 0), SMALL), size=SMALL, fill=MUTED
        )
        if i + 1 < len(boxes):
            figure.arrow(left + width // 2, top + i * pitch + height, left + width // 2, top + (i + 1) * pitch - 1)
    for (i, j), lane in lanes.items():
        x = left - 16 - 26 * lane
        leave, enter = top + i * pitch + height - 8, top + j * pitch + height // 2
        figure.polyline([(left, leave), (x, leave), (x, enter)], stroke=VERMILLION, width=2, dash="6 3")
        figure.arrow(x, enter, left - 1, enter, stroke=VERMILLION)
    return figure


def _lanes(skips: Sequence[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """A lane for each skip, so that two that overlap do not run on top of each other."""
    lanes: dict[tuple[int, int], int] = {}
    for skip in sorted(set(skips), key=lambda s: s[1] - s[0]):
        busy = {lane for other, lane in lanes.items() if other[0] < skip[1] and skip[0] < other[1]}
        lanes[skip] = next(lane for lane in range(len(skips)) if lane not in busy)
    return lanes


def _flow_box(figure: Figure, x: int, y: int, width: int, height: int, box: FlowStep, joins: bool) -> None:
    figure.rect(x, y, width, height, fill=tint(ORANGE, 30) if joins else tint(BLUE, 15), radius=6)
    name = fit(box.name, width - min(text_width(box.shape), width // 2) - 40, bold=True)
    shape = fit(box.shape, width - text_width(name, bold=True) - 40)
    figure.text(x + 12, y + 22, name, bold=True)
    figure.text(x + width - 12, y + 22, shape, anchor="end")


def _flow_alt(boxes: Sequence[FlowStep], skips: Sequence[tuple[int, int]]) -> str:
    steps = [f"{i}. {b.name} gives {b.shape}" + (f" ({b.note})" if b.note else "") for i, b in enumerate(boxes, 1)]
    joins = [
        f"The output of step {i + 1} ({boxes[i].name}) also goes into step {j + 1} ({boxes[j].name})." for i, j in skips
    ]
    return f"{plural(len(boxes), 'step')} from top to bottom. " + "; ".join(steps) + ". " + " ".join(joins)
