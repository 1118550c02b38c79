"""Charts of numbers: bars, stacked bars, curves, the roofline, and token probabilities."""

from collections.abc import Mapping, Sequence

from yaie.plots.svg import (
    BASE,
    BLUE,
    MARGIN,
    PALETTE,
    RULE,
    SMALL,
    WHITE,
    Figure,
    Key,
    draw_legend,
    fit,
    ink_on,
    legend_height,
    number,
    plural,
    require,
    require_finite,
    text_width,
    titled,
    with_unit,
)


def bars(
    rows: Mapping[str, float | Mapping[str, float]],
    *,
    unit: str = "",
    title: str = "",
    total: float | None = None,
) -> Figure:
    """One horizontal bar per row, longest row scaled to full width, with its value and unit.

    rows: label -> value, or label -> {part: value} for a bar made of parts (then the bar's text is the sum).
    total: a value that stands for the full width, where bars are shares of something.
    """
    parts = {label: _parts(label, value) for label, value in rows.items()}
    require(len(parts) > 0, "bars: rows is empty; expected at least one label with a value")
    largest = max(sum(p.values()) for p in parts.values())
    require(total is None or total >= largest > 0, f"bars: total is {total}; expected at least {largest}")
    names = list(dict.fromkeys(name for p in parts.values() for name in p if name))
    fills = _fills(names)
    side = min(max(text_width(label) for label in parts) + 12, 300)
    ends = [with_unit(sum(p.values()), unit) for p in parts.values()]
    room = max(text_width(end, BASE) for end in ends) + 12
    length = max(680 - side - room, 240)
    width = MARGIN + side + length + room + MARGIN
    keys = [Key(name, fills[name], _letter(names, name)) for name in names]
    height = 40 * len(parts) + 10 + legend_height(keys, width - 2 * MARGIN)
    figure, top = titled(title, width, height, _bars_alt(parts, unit))
    scale = length / ((total or largest) or 1)
    for row, ((label, values), end) in enumerate(zip(parts.items(), ends, strict=True)):
        y = top + 40 * row + 4
        figure.text(MARGIN + side - 10, y + 20, fit(label, side - 10), anchor="end")
        x = _bar_row(figure, MARGIN + side, y, values, scale, names, fills, unit)
        figure.text(x + 8, y + 20, end)
    figure.line(MARGIN + side, top, MARGIN + side, top + 40 * len(parts), stroke=RULE)
    draw_legend(figure, keys, MARGIN, top + 40 * len(parts) + 8, width - 2 * MARGIN)
    return figure


def _parts(label: str, value: float | Mapping[str, float]) -> dict[str, float]:
    parts = dict(value) if isinstance(value, Mapping) else {"": value}
    for name, part in parts.items():
        where = f"bars: rows[{label!r}]" + (f"[{name!r}]" if name else "")
        require(require_finite(part, where) >= 0, f"{where} is {part}; expected no negative value")
    return parts


def _fills(names: Sequence[str]) -> dict[str, str]:
    return {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(names)}


def _letter(names: Sequence[str], name: str) -> str:
    """A letter for a part of a bar: A, B, C in the order of the parts."""
    return chr(ord("A") + list(names).index(name) % 26)


def _bar_row(
    figure: Figure,
    x: int,
    y: int,
    values: Mapping[str, float],
    scale: float,
    names: Sequence[str],
    fills: Mapping[str, str],
    unit: str,
) -> int:
    """The parts of one bar side by side; returns where the bar ends."""
    done = 0.0
    for name, value in values.items():
        left, right = x + round(done * scale), x + round((done + value) * scale)
        fill = fills.get(name, BLUE)
        if right > left:
            figure.rect(left, y, right - left, 30, fill=fill, stroke=WHITE if name else fill)
        text = f"{_letter(names, name)} {number(value)}" if name else ""
        if text and text_width(text, SMALL) + 4 > right - left:
            text = _letter(names, name)
        if text and text_width(text, SMALL) + 4 <= right - left:
            figure.label(left, y, right - left, 30, text, size=SMALL, fill=ink_on(fill))
        done += value
    return x + round(done * scale)


def _bars_alt(parts: Mapping[str, Mapping[str, float]], unit: str) -> str:
    facts = []
    for label, values in parts.items():
        inner = ", ".join(f"{name} {number(value)}" for name, value in values.items() if name)
        facts.append(f"{label}: {with_unit(sum(values.values()), unit)}" + (f" ({inner})" if inner else ""))
    return f"{plural(len(parts), 'bar')}. " + "; ".join(facts) + "."
