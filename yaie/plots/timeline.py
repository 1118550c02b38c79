"""What happened when: a continuous batch by requests and steps, and who worked from when to when."""

from collections.abc import Iterable, Sequence
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
    SMALL,
    VERMILLION,
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
    tint,
    titled,
)


class Span(NamedTuple):
    """A request spends the steps `start` to `end - 1` in one kind of work; `label` (optional) is written on the bar.

    kind: waiting, prefill, decode or preempted.
    """

    request: str
    start: int
    end: int
    kind: str
    label: str = ""


class _Kind(NamedTuple):
    letter: str
    fill: str
    hatch: bool = False
    dash: str = ""


KINDS = {
    "waiting": _Kind("W", PALE, dash="3 3"),
    "prefill": _Kind("P", BLUE),
    "decode": _Kind("D", tint(ORANGE, 60)),
    "preempted": _Kind("X", tint(VERMILLION, 30), hatch=True, dash="6 3"),
}


def timeline(rows: Iterable[Span | tuple], *, title: str = "A continuous batch, step by step") -> Figure:
    """One line per request (in order of first appearance), one column per step of the engine.

    rows: `Span`s or plain tuples (request, start, end, kind[, label]) with half-open ranges of steps.
    """
    spans = _checked([Span(*row) for row in rows])
    requests = list(dict.fromkeys(span.request for span in spans))
    first, last = min(s.start for s in spans), max(s.end for s in spans)
    side = min(max(text_width(name) for name in [*requests, "steps"]) + 14, 160)
    step = min(max((MAX_WIDTH - 2 * MARGIN - side) // (last - first), 12), 44)
    inner = max(side + step * (last - first), 420)
    used = {span.kind for span in spans}
    keys = [Key(name, k.fill, k.letter, k.hatch, k.dash) for name, k in KINDS.items() if name in used]
    grid = 24 + 34 * len(requests)
    figure, top = titled(title, inner + 2 * MARGIN, grid + 14 + legend_height(keys, inner), _alt(spans, requests))
    _axis(figure, MARGIN + side, top, step, first, last, grid)
    for row, name in enumerate(requests):
        figure.text(MARGIN, top + 43 + row * 34, fit(name, side - 10))
    for span in spans:
        x, y = MARGIN + side + (span.start - first) * step, top + 24 + requests.index(span.request) * 34
        _bar(figure, x, y, (span.end - span.start) * step, span)
    draw_legend(figure, keys, MARGIN, top + grid + 8, inner)
    return figure


def timeline_rows(records: Iterable[Any]) -> list[Span]:
    """The bars of an engine's trace: of each record, `step` and `work`, a dict of (kind, number of tokens) by request.

    Equal steps in a row are one bar, except that each chunk of a prompt is a bar of its own, labelled with its tokens.
    """
    rows: list[Span] = []
    last: dict[str, int] = {}  # request -> its newest row
    for record in records:
        for request, (kind, num_tokens) in record.work.items():
            at = last.get(request)
            if at is not None and kind != "prefill" and (rows[at].end, rows[at].kind) == (record.step, kind):
                rows[at] = rows[at]._replace(end=record.step + 1)
            else:
                last[request] = len(rows)
                label = str(num_tokens) if kind == "prefill" else ""
                rows.append(Span(request, record.step, record.step + 1, kind, label))
    return rows


def lanes(
    rows: Iterable[tuple[str, float, float, str]], *, unit: str = "ms", end: float | None = None, title: str = ""
) -> Figure:
    """Who works from when to when: one lane per worker (in order of first appearance), time from 0 to the right.

    rows: (worker, start, end, what it does); what fits into its bar is written there, the alt text has all
    end: where the time axis ends, so that two figures have the same scale; None: with the last bar
    """
    bars = [
        (str(who), *(require_finite(at, "lanes: a time") for at in (start, stop)), what)
        for who, start, stop, what in rows
    ]
    require(len(bars) > 0, "lanes: rows is empty; expected at least one (worker, start, end, label)")
    for i, (_, start, stop, _) in enumerate(bars):
        require(0 <= start < stop, f"lanes: rows[{i}] runs from {start} to {stop}; expected 0 <= start < end")
    last = max(stop for _, _, stop, _ in bars)
    require(end is None or end >= last, f"lanes: end is {end}; expected at least {last}")
    last, names = end or last, list(dict.fromkeys(who for who, *_ in bars))
    side = min(max(text_width(name) for name in names) + 14, 160)
    inner = MAX_WIDTH - 2 * MARGIN - 16
    scale, grid = (inner - side) / last, 34 * len(names) + 4
    alt = "; ".join(f"{name}: " + ", ".join(_span(bar, unit) for bar in bars if bar[0] == name) for name in names)
    figure, top = titled(title, MAX_WIDTH, grid + 34, f"{alt}.")
    every = next(step for step in (10.0**power * n for power in range(-9, 13) for n in (1, 2, 5)) if step * scale >= 40)
    for tick in range(int(last / every + 1e-9) + 1):
        x = MARGIN + side + tick * every * scale
        figure.line(x, top, x, top + grid, stroke=GRID)
        text = number(tick * every) + ("" if tick else f" {unit}")
        figure.text(x, top + grid + 16, text, size=SMALL, anchor="middle", fill=MUTED)
    for row, name in enumerate(names):
        figure.text(MARGIN, top + 23 + row * 34, fit(name, side - 10))
    for who, start, stop, what in bars:
        row = names.index(who)
        x, y, width = MARGIN + side + start * scale, top + 4 + row * 34, (stop - start) * scale
        fill = tint(PALETTE[row % len(PALETTE)], 60)
        figure.rect(x, y, width, 28, fill=fill, radius=3)
        figure.label(x, y, width, 28, what, size=SMALL, fill=ink_on(fill))
    return figure


def _span(bar: tuple[str, float, float, str], unit: str) -> str:
    _, start, stop, what = bar
    return f"{what} from {number(start)} to {number(stop)} {unit}"


def _checked(spans: Sequence[Span]) -> Sequence[Span]:
    require(len(spans) > 0, "timeline: rows is empty; expected at least one span")
    for i, span in enumerate(spans):
        where = f"timeline: rows[{i}]"
        require(span.kind in KINDS, f"{where} has kind {span.kind!r}; expected one of {', '.join(KINDS)}")
        require(span.start < span.end, f"{where} runs from {span.start} to {span.end}; expected start < end")
        for earlier in spans[:i]:
            clash = earlier.request == span.request and earlier.start < span.end and span.start < earlier.end
            require(not clash, f"{where} overlaps another span of request {span.request!r} ({earlier.kind})")
    return spans


def _axis(figure: Figure, x: int, top: int, step: int, first: int, last: int, height: int) -> None:
    """Step numbers above light columns; with narrow columns only every second, fifth, ... number."""
    widest = text_width(str(last), SMALL) + 6
    every = next(n for n in (1, 2, 5, 10, 20) if n * step >= widest)  # a column is 12 wide or more
    figure.text(MARGIN, top + 13, "step", size=SMALL, fill=MUTED)
    for at in range(first, last + 1):
        left = x + (at - first) * step
        figure.line(left, top + 20, left, top + height, stroke=GRID)
        if at < last and (at - first) % every == 0:
            figure.text(left + step / 2, top + 13, str(at), size=SMALL, anchor="middle", fill=MUTED)


def _bar(figure: Figure, x: int, y: int, width: int, span: Span) -> None:
    kind = KINDS[span.kind]
    figure.rect(x + 1, y, width - 2, 28, fill=kind.fill, hatch=kind.hatch, dash=kind.dash, radius=3)
    figure.label(x, y, width, 28, _text(span, kind, width), size=SMALL, fill=ink_on(kind.fill))


def _text(span: Span, kind: _Kind, width: int) -> str:
    """The fullest text that the bar has room for, always with the kind."""
    choices = [f"{span.kind} {span.label}".strip(), f"{kind.letter} {span.label}".strip(), kind.letter]
    return next((text for text in choices if text_width(text, SMALL) <= width - 6), kind.letter)


def _alt(spans: Sequence[Span], requests: Sequence[str]) -> str:
    parts = []
    for name in requests:
        own = sorted((s for s in spans if s.request == name), key=lambda s: s.start)
        parts.append(f"{name}: " + ", ".join(_fact(span) for span in own))
    return f"{plural(len(requests), 'request')}, steps {min(s.start for s in spans)} to " + (
        f"{max(s.end for s in spans) - 1}. " + "; ".join(parts) + "."
    )


def _fact(span: Span) -> str:
    steps = f"step {span.start}" if span.end - span.start == 1 else f"steps {span.start}-{span.end - 1}"
    return f"{span.kind} {steps}" + (f" ({span.label})" if span.label else "")
