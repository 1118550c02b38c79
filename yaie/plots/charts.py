"""Charts of numbers: bars, stacked bars and token probabilities."""

from collections.abc import Mapping, Sequence

from yaie.plots.svg import (
    BASE,
    BLUE,
    INK,
    MARGIN,
    MUTED,
    PALE,
    PALETTE,
    RULE,
    SMALL,
    VERMILLION,
    WHITE,
    Figure,
    Key,
    draw_legend,
    fit,
    ink_on,
    legend_height,
    number,
    plural,
    printable,
    require,
    require_finite,
    text_width,
    tint,
    titled,
    with_unit,
    wrap,
)


def bars(
    rows: Mapping[str, float | Mapping[str, float]], *, unit: str = "", title: str = "", total: float | None = None
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


_POOL = {
    "free": Key("free", WHITE, "F", dash="3 3"),
    "evictable": Key("evictable", PALE, "E", hatch=True),
    "protected": Key("protected (locked)", tint(VERMILLION, 30), "L"),
    "private": Key("private", tint(BLUE), "P"),
}


def stacked(
    steps: Sequence[Mapping[str, int]],
    *,
    pool: int | None = None,
    labels: Sequence[str] | None = None,
    unit: str = "slots",
    title: str = "Who holds the pool, step by step",
) -> Figure:
    """One column per step, made of its parts, against the line at `pool` that every column has to reach.

    steps: part -> count, such as free, evictable, protected and private. pool: what the parts must add up to (the first
    step's sum if None); a step that misses it is marked "≠" and named in the alt text.
    """
    require(len(steps) > 0, "stacked: steps is empty; expected at least one step")
    for i, step in enumerate(steps):
        for name, count in step.items():
            where = f"stacked: steps[{i}][{name!r}]"
            require(require_finite(count, where) >= 0, f"{where} is {count}; expected no negative count")
    labels = [str(i) for i in range(len(steps))] if labels is None else list(labels)
    require(len(labels) == len(steps), f"stacked: labels has {len(labels)} entries for {len(steps)} steps")
    pool = sum(steps[0].values()) if pool is None else pool
    keys = _part_keys(dict.fromkeys(name for step in steps for name in step))
    column = min(max(680 // len(steps), 20), 72)
    side, height = text_width(with_unit(pool, unit), SMALL) + 14, 200
    inner = max(side + column * len(steps), 360)
    alt = _stacked_alt(steps, labels, pool, unit)
    figure, top = titled(title, inner + 2 * MARGIN, height + 60 + legend_height(list(keys.values()), inner), alt)
    scale = height / max(pool, max(sum(step.values()) for step in steps), 1)
    base, left = top + 22 + height, MARGIN + side
    for i, (label, step) in enumerate(zip(labels, steps, strict=True)):
        _column(figure, left + i * column, base, column - 4, step, keys, scale, sum(step.values()) == pool)
        figure.label(left + i * column - 2, base + 4, column, 18, label, size=SMALL, fill=MUTED)
    line = base - pool * scale
    figure.line(left - 6, line, left + column * len(steps), line, stroke=INK, width=2)
    figure.text(left - 10, line + 5, with_unit(pool, unit), size=SMALL, anchor="end")
    figure.text(left - 10, base + 17, "step", size=SMALL, anchor="end", fill=MUTED)
    draw_legend(figure, list(keys.values()), MARGIN, base + 30, inner)
    return figure


def _part_keys(names: Sequence[str] | dict[str, None]) -> dict[str, Key]:
    own = [name for name in names if name not in _POOL]
    return {
        name: _POOL.get(name) or Key(name, tint(PALETTE[own.index(name) % len(PALETTE)], 60), _letter(own, name))
        for name in names
    }


def _column(
    figure: Figure,
    x: int,
    base: int,
    width: int,
    step: Mapping[str, int],
    keys: Mapping[str, Key],
    scale: float,
    whole: bool,
) -> None:
    done = 0
    for name, count in reversed(step.items()):
        low, high = base - round(done * scale), base - round((done + count) * scale)
        key = keys[name]
        if low > high:
            figure.rect(x, high, width, low - high, fill=key.fill, hatch=key.hatch, dash=key.dash)
        if low - high >= 16:
            texts = (f"{key.mark} {number(count)}", key.mark)
            text = next((t for t in texts if text_width(t, SMALL) <= width - 4), "")
            figure.label(x, high, width, low - high, text, size=SMALL, fill=ink_on(key.fill))
        done += count
    if not whole:
        figure.text(x + width / 2, base - 206, "≠", anchor="middle", fill=VERMILLION, bold=True)


def _stacked_alt(steps: Sequence[Mapping[str, int]], labels: Sequence[str], pool: int, unit: str) -> str:
    broken = [label for label, step in zip(labels, steps, strict=True) if sum(step.values()) != pool]
    verdict = f"The parts miss {with_unit(pool, unit)} in step {', '.join(broken)}." if broken else ""
    verdict = verdict or f"In every step the parts add up to {with_unit(pool, unit)}."
    facts = [
        f"step {label}: " + " + ".join(f"{name} {number(count)}" for name, count in step.items())
        for label, step in zip(labels, steps, strict=True)
    ]
    return f"{verdict} {'; '.join(facts)}."


def probabilities(
    labels: Sequence[str],
    series: Mapping[str, Sequence[float]],
    *,
    title: str = "Probabilities of the next token",
    highest: float | None = None,
) -> Figure:
    """One row of bars per series over the same tokens, all to one scale, so that each step of sampling can be compared.

    labels: the tokens. series: name (such as "temperature 0.5") -> a probability per token; zero is shown as "cut".
    highest: the probability of a bar of full height, for figures that are to be compared; the largest there is if None.
    """
    require(len(labels) > 0, "probabilities: labels is empty; expected at least one token")
    require(len(series) > 0, "probabilities: series is empty; expected at least one row of probabilities")
    for name, values in series.items():
        where = f"probabilities: series[{name!r}]"
        require(len(values) == len(labels), f"{where} has {len(values)} values for {len(labels)} labels")
        ok = all(0 <= require_finite(v, where) <= 1 for v in values)
        require(ok, f"{where} leaves the range 0 to 1: {list(values)}")
    side = min(max(text_width(name) for name in series) + 16, 160)
    column = min(max(max(text_width(label) for label in labels) + 14, 56), 110, max(44, (868 - side) // len(labels)))
    row_height, bar_height = 96, 60
    width = 2 * MARGIN + side + column * len(labels)
    figure, top = titled(title, width, row_height * len(series) + 34, _probability_alt(labels, series))
    largest = max(v for values in series.values() for v in values)
    require(highest is None or highest >= largest, f"probabilities: {largest} is more than highest={highest}")
    scale = bar_height / (highest or largest or 1)
    for row, (name, values) in enumerate(series.items()):
        base = top + row * row_height + row_height - 8
        for i, part in enumerate(wrap(name, side - 12)[:3]):
            figure.text(MARGIN, base - 30 + 17 * i, part)
        for i, value in enumerate(values):
            _probability_bar(figure, MARGIN + side + i * column, base, column, value, scale)
        figure.line(MARGIN + side, base, MARGIN + side + column * len(labels), base)
    for i, label in enumerate(labels):
        figure.label(MARGIN + side + i * column, top + row_height * len(series) - 2, column, 22, label)
    return figure


def _probability_bar(figure: Figure, x: int, base: int, column: int, value: float, scale: float) -> None:
    height = round(value * scale)
    if height:
        figure.rect(x + 6, base - height, column - 12, height, fill=BLUE, stroke=BLUE)
    text = percent(value) if value else "cut"
    figure.text(x + column / 2, base - height - 6, text, size=SMALL, anchor="middle", fill=INK if value else MUTED)


def percent(value: float) -> str:
    """A share as a whole percentage, never rounding something down to nothing or up to everything."""
    if 0 < value < 0.005:
        return "<1%"
    return ">99%" if 0.995 <= value < 1 else f"{100 * value:.0f}%"


def _probability_alt(labels: Sequence[str], series: Mapping[str, Sequence[float]]) -> str:
    facts = []
    for name, values in series.items():
        kept = [f"{printable(t)} {percent(v)}" for t, v in zip(labels, values, strict=True) if v]
        cut = [printable(t) for t, v in zip(labels, values, strict=True) if not v]
        facts.append(f"{name}: {', '.join(kept)}" + (f"; cut: {', '.join(cut)}" if cut else ""))
    return f"{plural(len(labels), 'token')}. " + ". ".join(facts) + "."
