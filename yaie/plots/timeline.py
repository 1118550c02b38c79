"""A continuous batch over time: what the scheduler did with each request in each step."""

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
    SMALL,
    VERMILLION,
    Figure,
    Key,
    draw_legend,
    fit,
    ink_on,
    legend_height,
    plural,
    require,
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
    for number in range(first, last + 1):
        left = x + (number - first) * step
        figure.line(left, top + 20, left, top + height, stroke=GRID)
        if number < last and (number - first) % every == 0:
            figure.text(left + step / 2, top + 13, str(number), size=SMALL, anchor="middle", fill=MUTED)


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
