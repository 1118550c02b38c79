"""Curves with axes: measurements, and kernels under the roofline of a machine."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from yaie.plots.svg import (
    DASHES,
    GRID,
    INK,
    MARGIN,
    MUTED,
    PALETTE,
    RULE,
    SMALL,
    WHITE,
    Figure,
    fit,
    number,
    pixel,
    plural,
    require,
    require_finite,
    text_width,
    titled,
)


class _Axis(NamedTuple):
    """Maps values from `low` to `high` to the pixels from `start` to `end`."""

    low: float
    high: float
    start: int
    end: int
    log: bool

    def at(self, value: float) -> float:
        low, high, value = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (self.end - self.start) * (value - low) / (high - low)

    def ticks(self) -> list[float]:
        """Round values inside the range: 1, 2 or 5 times a power of ten, or powers of ten over a long log axis."""
        if not self.log:
            raw = (self.high - self.low) / 5
            step = next(s for p in range(-9, 16) for m in (1, 2, 5) if (s := m * 10.0**p) >= raw * 0.999999)
            return [k * step for k in range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)]
        steps = (1, 2, 5) if self.high / self.low < 500 else (1,)
        powers = range(math.floor(math.log10(self.low)) - 1, math.ceil(math.log10(self.high)) + 1)
        return [
            m * 10.0**p for p in powers for m in steps if self.low * 0.999999 <= m * 10.0**p <= self.high * 1.000001
        ]


def _axis(values: Sequence[float], start: int, end: int, log: bool, where: str) -> _Axis:
    """An axis over all values; a linear one begins at zero unless values are negative."""
    low, high = min(values), max(values)
    if log:
        require(low > 0, f"{where} holds {low}; expected positive values on a log axis")
        return _Axis(low, high if high > low else low * 10, start, end, log)
    low = min(low, 0)
    return _Axis(low, high if high > low else low + 1, start, end, log)


def lines(
    series: Mapping[str, Sequence[tuple[float, float]]],
    x_label: str,
    y_label: str,
    *,
    log_x: bool = False,
    log_y: bool = False,
    title: str = "",
) -> Figure:
    """Measured curves: (x, y) points joined in order of x, each series named at its right end.

    x_label, y_label: what is measured and in which unit, such as "context length (tokens)".
    """
    points = {name: sorted(_points(name, pairs)) for name, pairs in series.items()}
    require(len(points) > 0, "lines: series is empty; expected at least one name with points")
    side = min(max(text_width(name) for name in points) + 16, 240)
    plot_width, plot_height, left = 700 - side, 280, MARGIN + 70
    figure, top = titled(
        title, left + plot_width + side + MARGIN, plot_height + 84, _lines_alt(points, x_label, y_label)
    )
    top += 24
    x = _axis([p[0] for pairs in points.values() for p in pairs], left, left + plot_width, log_x, "lines: x")
    y = _axis([p[1] for pairs in points.values() for p in pairs], top + plot_height, top, log_y, "lines: y")
    _draw_axes(figure, x, y, x_label, y_label)
    for i, pairs in enumerate(points.values()):
        path = [(x.at(a), y.at(b)) for a, b in pairs]
        figure.polyline(path, stroke=PALETTE[i % len(PALETTE)], width=3, dash=DASHES[i % len(DASHES)])
        for spot in path:
            _marker(figure, *spot, i)
    heights = _apart([y.at(pairs[-1][1]) for pairs in points.values()], top, top + plot_height)
    for i, (name, height) in enumerate(zip(points, heights, strict=True)):
        _marker(figure, left + plot_width + 14, height, i)
        figure.text(left + plot_width + 24, height + 5, fit(name, side - 16))
    return figure


def _points(name: str, pairs: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    require(len(pairs) > 0, f"lines: series[{name!r}] is empty; expected at least one point")
    for i, (x, y) in enumerate(pairs):
        require_finite(x, f"lines: series[{name!r}][{i}] x")
        require_finite(y, f"lines: series[{name!r}][{i}] y")
    return list(pairs)


def _draw_axes(figure: Figure, x: _Axis, y: _Axis, x_label: str, y_label: str) -> None:
    """Grid lines, tick numbers and the names of both axes; numbers that would touch their neighbour are left out."""
    figure.text(MARGIN, y.end - 12, fit(y_label, figure.width - 2 * MARGIN, SMALL), size=SMALL, fill=MUTED)
    for tick in y.ticks():
        figure.line(x.start, y.at(tick), x.end, y.at(tick), stroke=GRID)
        figure.text(x.start - 8, y.at(tick) + 4, _tick(tick), size=SMALL, anchor="end", fill=MUTED)
    free = 0.0
    for tick in x.ticks():
        half = text_width(_tick(tick), SMALL) / 2
        figure.line(x.at(tick), y.start, x.at(tick), y.start + 5)
        if x.at(tick) - half > free:
            figure.text(x.at(tick), y.start + 20, _tick(tick), size=SMALL, anchor="middle", fill=MUTED)
            free = x.at(tick) + half + 6
    figure.polyline([(x.start, y.end), (x.start, y.start), (x.end, y.start)])
    figure.text(
        (x.start + x.end) / 2,
        y.start + 42,
        fit(x_label, x.end - x.start, SMALL),
        size=SMALL,
        anchor="middle",
        fill=MUTED,
    )


def _tick(value: float) -> str:
    for factor, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
        if abs(value) >= factor:
            return f"{value / factor:.3g}{letter}"
    return number(round(value, 12))


def _marker(figure: Figure, x: float, y: float, index: int) -> None:
    """Circle, square, triangle or diamond: the shape tells the series as the colour does."""
    color, shape = PALETTE[index % len(PALETTE)], index % 4
    if shape == 0:
        figure.circle(x, y, 5, fill=color, stroke=WHITE)
    else:
        corners = {
            1: [(-5, -5), (5, -5), (5, 5), (-5, 5)],
            2: [(0, -6), (6, 5), (-6, 5)],
            3: [(0, -7), (7, 0), (0, 7), (-7, 0)],
        }[shape]
        figure.polygon([(x + dx, y + dy) for dx, dy in corners], fill=color, stroke=WHITE)


def _apart(heights: Sequence[float], low: float, high: float) -> list[float]:
    """The heights moved so far that labels at them stand 18 pixels apart, between `low` and `high` where possible."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    placed: dict[int, float] = {}
    floor = low
    for i in order:
        placed[i] = floor = max(heights[i], floor)
        floor += 18
    ceiling = max(high, low + 18 * (len(heights) - 1))
    for i in reversed(order):
        placed[i] = min(placed[i], ceiling)
        ceiling = placed[i] - 18
    return [placed[i] for i in range(len(heights))]


def _lines_alt(points: Mapping[str, Sequence[tuple[float, float]]], x_label: str, y_label: str) -> str:
    facts = [f"{name}: " + ", ".join(f"{number(y)} at {number(x)}" for x, y in pairs) for name, pairs in points.items()]
    return f"{plural(len(points), 'curve')} of {y_label} over {x_label}. " + "; ".join(facts) + "."


def si(value: float, unit: str) -> str:
    """A rate with an SI prefix: 4.3e12 and "B/s" give "4.3 TB/s"."""
    for factor, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def roofline(
    points: Mapping[str, tuple[float, float]], peak_flops: float, bandwidth: float, *, title: str = "Roofline"
) -> Figure:
    """Kernels under the roof of a machine, both axes logarithmic.

    points: kernel -> (FLOP per byte moved, FLOP/s achieved). peak_flops: FLOP/s. bandwidth: bytes/s. The roof at an
    intensity of x is min(peak_flops, bandwidth * x); left of the ridge a kernel is bound by memory, right of it by
    arithmetic.
    """
    require(require_finite(peak_flops, "roofline: peak_flops") > 0, "roofline: peak_flops must be positive")
    require(require_finite(bandwidth, "roofline: bandwidth") > 0, "roofline: bandwidth must be positive")
    for name, pair in points.items():
        ok = all(require_finite(v, f"roofline: points[{name!r}]") > 0 for v in pair)
        require(ok, f"roofline: points[{name!r}] is {pair}; expected positive values")
    ridge = peak_flops / bandwidth
    xs, ys = [p[0] for p in points.values()], [p[1] for p in points.values()]
    low = min([ridge / 100, *(x / 3 for x in xs)])
    facts = {name: _roof_fact(*pair, peak_flops, bandwidth) for name, pair in points.items()}
    left, width, height = MARGIN + 84, 640, 300
    alt = _roofline_alt(facts, peak_flops, bandwidth, ridge)
    figure, top = titled(title, left + width + 40, height + 90 + 20 * len(points), alt)
    top += 24
    x = _Axis(low, max([ridge * 100, *(v * 3 for v in xs)]), left, left + width, True)
    y = _Axis(
        min([bandwidth * low, *(v / 2 for v in ys)]),
        max([peak_flops * 3, *(v * 2 for v in ys)]),
        top + height,
        top,
        True,
    )
    _draw_axes(figure, x, y, "arithmetic intensity (FLOP per byte moved)", "FLOP/s")
    _draw_roof(figure, x, y, peak_flops, bandwidth)
    _draw_points(figure, x, y, points, peak_flops, bandwidth)
    for i, (name, fact) in enumerate(facts.items()):
        line = f"{chr(ord('A') + i % 26)}  {name}: {fact}"
        figure.text(MARGIN, top + height + 66 + 20 * i, fit(line, figure.width - 2 * MARGIN, SMALL), size=SMALL)
    return figure


def _roof_fact(intensity: float, flops: float, peak: float, bandwidth: float) -> str:
    roof = min(peak, bandwidth * intensity)
    bound = "memory" if bandwidth * intensity < peak else "compute"
    share = f"{100 * flops / roof:.0f}% of the roof"
    return f"{number(intensity)} FLOP/byte, {si(flops, 'FLOP/s')}, {share}, {bound}-bound"


def _roofline_alt(facts: Mapping[str, str], peak: float, bandwidth: float, ridge: float) -> str:
    roof = f"The roof is {si(peak, 'FLOP/s')} and {si(bandwidth, 'B/s')}, which meet at {number(ridge)} FLOP per byte."
    return roof + "".join(f" {name}: {fact}." for name, fact in facts.items())


def _draw_roof(figure: Figure, x: _Axis, y: _Axis, peak: float, bandwidth: float) -> None:
    ridge = peak / bandwidth
    corners = [(x.low, bandwidth * x.low), (ridge, peak), (x.high, peak)]
    figure.polyline([(x.at(a), y.at(b)) for a, b in corners], stroke=INK, width=3)
    figure.line(x.at(ridge), y.at(peak), x.at(ridge), y.start, stroke=RULE, dash="4 4")
    figure.text(x.end, y.at(peak) - 8, si(peak, "FLOP/s"), size=SMALL, anchor="end")
    slope_x = math.sqrt(x.low * ridge)
    at, height = x.at(slope_x) - 10, y.at(bandwidth * slope_x) - 10
    figure.text(at, height, si(bandwidth, "B/s"), size=SMALL, anchor="end")


def _draw_points(
    figure: Figure, x: _Axis, y: _Axis, points: Mapping[str, tuple[float, float]], peak: float, bandwidth: float
) -> None:
    """A dot for each kernel and its letter beside it, clear of the roof, of other dots and of other letters."""
    spots = [(pixel(x.at(a)), pixel(y.at(b))) for a, b in points.values()]
    roof = [x.low * (x.high / x.low) ** (i / 100) for i in range(101)]
    taken = [(px, py, 7) for px, py in spots] + [(x.at(a), y.at(min(peak, bandwidth * a)), 2) for a in roof]
    for i, (px, py) in enumerate(spots):
        figure.circle(px, py, 6, fill=PALETTE[i % len(PALETTE)], stroke=INK)
        dx, dy = free_spot(px, py, taken)
        taken.append((px + dx, py + dy, 9))
        figure.text(px + dx, py + dy + 5, chr(65 + i % 26), anchor="middle", bold=True)


def free_spot(x: float, y: float, taken: Sequence[tuple[float, float, int]], start: int = 16) -> tuple[int, int]:
    """An offset from (x, y) at which a short label keeps clear of all `taken` (x, y, radius) circles."""
    ring = ((1, 0), (1, 1), (1, -1), (0, 1), (0, -1), (-1, 0), (-1, 1), (-1, -1))
    for reach in range(start, start + 60, 4):
        for dx, dy in ring:
            if all(math.hypot(x + dx * reach - a, y + dy * reach - b) >= r + 9 for a, b, r in taken):
                return dx * reach, dy * reach
    return start, 0
