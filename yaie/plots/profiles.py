"""Pictures of a profile of `yaie.cuda`: what a warp touched, instruction by instruction, and what each line moved.

They take the objects of `module.profile()` or anything with the same attributes; nothing is imported from there.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple, Protocol

from yaie.plots.charts import bars
from yaie.plots.memory import access_cost, bank_map, threads_to_memory
from yaie.plots.svg import (
    BLUE,
    INK,
    MARGIN,
    MUTED,
    RULE,
    SMALL,
    VERMILLION,
    WHITE,
    Figure,
    fit,
    ink_on,
    plural,
    require,
    text_width,
    tint,
    titled,
)

WARP, SECTOR, BANKS = 32, 32, 32


class Step(Protocol):
    """One instruction of one warp, as in `Profile.trace`: `lanes[i]` touched byte `addresses[i]` of `array`."""

    @property
    def line(self) -> int: ...
    @property
    def source(self) -> str: ...
    @property
    def space(self) -> str: ...  # "global" or "shared"
    @property
    def operation(self) -> str: ...  # "load", "store" or "atomic"
    @property
    def array(self) -> str: ...
    @property
    def bytes_per_lane(self) -> int: ...
    @property
    def lanes(self) -> Sequence[int]: ...
    @property
    def addresses(self) -> Sequence[int]: ...


class Line(Protocol):
    """One kind of access on one source line, as in `Profile.lines`."""

    @property
    def line(self) -> int: ...
    @property
    def source(self) -> str: ...
    @property
    def space(self) -> str: ...
    @property
    def operation(self) -> str: ...
    @property
    def requests(self) -> int: ...
    @property
    def sectors(self) -> int: ...
    @property
    def used_bytes(self) -> int: ...
    @property
    def wavefronts(self) -> int: ...


class HasLines(Protocol):
    """What `module.profile()` returns."""

    @property
    def lines(self) -> Sequence[Line]: ...


def addresses_of(step: Step) -> list[int | None]:
    """A byte address for each of the 32 lanes, None for those that took no part."""
    where = dict(zip(step.lanes, step.addresses, strict=True))
    return [where.get(lane) for lane in range(WARP)]


def warp_access(step: Step, *, title: str | None = None) -> Figure:
    """One instruction of a warp: thread to sector for global memory, thread to bank for shared memory.

    step: an element of `profile.trace`.
    """
    title = f"{_what(step)}, line {step.line}: {step.source}" if title is None else title
    draw = bank_map if step.space == "shared" else threads_to_memory
    return draw(addresses_of(step), access_bytes=step.bytes_per_lane, operation=step.operation, title=fit(title, 780))


def _what(step: Step) -> str:
    return f"{step.space} {step.operation} of {step.array}"


def warp_trace(
    steps: Sequence[Step], *, most: int = 12, title: str = "What one warp touches, instruction by instruction"
) -> Figure:
    """A row per instruction: its 32 threads from left to right, neighbours in one box where they share a sector.

    Under each box stands the number of its sector in global memory (32 bytes), counted from the beginning of the array;
    in shared memory a box is a thread and its number the bank. At the right, what the access costs.
    steps: `profile.trace`, or a part of it; the first `most` are drawn.
    """
    require(len(steps) > 0, "warp_trace: steps is empty; expected at least one step of a trace")
    require(most >= 1, f"warp_trace: most is {most}; expected at least 1")
    shown, cell, height = list(steps[:most]), 18, 46
    side = min(max(text_width(t, SMALL) for s in shown for t in _row_heads(s)) + 14, 200)
    room = max(text_width(_cost(s), SMALL) for s in shown) + 14
    width = 2 * MARGIN + side + cell * WARP + room
    left = len(steps) - len(shown)
    more = f"{plural(left, 'further step')} not drawn." if left else ""
    alt = " ".join([f"{plural(len(shown), 'step')}.", *(_step_alt(s) for s in shown), more]).rstrip()
    figure, top = titled(title, width, 20 + height * len(shown) + 46 + (20 if more else 0), alt)
    x = MARGIN + side
    figure.text(MARGIN, top + 12, "thread", size=SMALL, fill=MUTED)
    for lane in (0, 8, 16, 24, 31):
        figure.label(x + lane * cell, top, cell, 18, str(lane), size=SMALL, fill=MUTED)
    for row, step in enumerate(shown):
        y = top + 20 + row * height
        for i, text in enumerate(_row_heads(step)):
            figure.text(MARGIN, y + 14 + 15 * i, fit(text, side - 8, SMALL), size=SMALL, fill=MUTED if i else INK)
        _draw_runs(figure, x, y, cell, step)
        figure.text(x + cell * WARP + 8, y + 19, _cost(step), size=SMALL)
    y = top + 20 + height * len(shown)
    legend = "box: neighbours in one sector (global), or one thread and its bank (shared, dashed); number: which one"
    figure.text(MARGIN, y + 16, fit(legend, width - 2 * MARGIN, SMALL), size=SMALL, fill=MUTED)
    figure.text(MARGIN, y + 36, more, size=SMALL, fill=MUTED)
    return figure


def _row_heads(step: Step) -> tuple[str, str]:
    return f"{_what(step)}", f"line {step.line}, {plural(step.bytes_per_lane, 'byte')} a thread"


class Run(NamedTuple):
    """Neighbouring threads that fall into one unit: a sector, or a bank; None for threads that are switched off."""

    first: int
    count: int
    unit: int | None


def _runs(step: Step) -> list[Run]:
    shared, runs, first = step.space == "shared", [], 0
    units = [None if a is None else a // 4 % BANKS if shared else a // SECTOR for a in addresses_of(step)]
    keys = [(u, lane) if shared and u is not None else (u, 0) for lane, u in enumerate(units)]
    for (unit, _), group in groupby(keys):
        count = len(list(group))
        runs.append(Run(first, count, unit))
        first += count
    return runs


def _draw_runs(figure: Figure, x: int, y: int, cell: int, step: Step) -> None:
    """Boxes in two shades in turn, so that their borders are seen; a number where it has room."""
    color, dash = (VERMILLION, "4 2") if step.space == "shared" else (BLUE, "")
    for i, run in enumerate(_runs(step)):
        at, width = x + run.first * cell, run.count * cell
        if run.unit is None:
            figure.rect(at, y, width - 1, 28, fill=WHITE, stroke=RULE, dash="1 3")
            continue
        fill = tint(color, 45) if i % 2 else tint(color, 20)
        figure.rect(at, y, width - 1, 28, fill=fill, stroke=color, dash=dash)
        if text_width(str(run.unit), SMALL) <= width - 2:
            figure.label(at - 1, y, width + 2, 28, str(run.unit), size=SMALL, fill=ink_on(fill))


def _cost(step: Step) -> str:
    sectors, turns = access_cost(addresses_of(step), step.bytes_per_lane)
    return plural(sum(turns), "turn") if step.space == "shared" else plural(sectors, "sector")


def _step_alt(step: Step) -> str:
    runs = [run for run in _runs(step) if run.unit is not None]
    inside = [
        f"{run.first if run.count == 1 else f'{run.first}-{run.first + run.count - 1}'} in {run.unit}" for run in runs
    ]
    unit = "banks" if step.space == "shared" else "sectors"
    if len(inside) > 8:
        inside = [*inside[:4], "and so on", inside[-1]]
    return f"Line {step.line}, {_what(step)}, {_cost(step)}; threads in {unit}: {', '.join(inside)}."


VALUES = {
    "bytes moved": ("global", "bytes"),
    "sectors per request": ("global", ""),
    "wavefronts per request": ("shared", ""),
}


def profile_bars(profiles: Mapping[str, HasLines], value: str = "bytes moved", *, title: str | None = None) -> Figure:
    """What each source line costs, as bars, for one profile or for several beside each other (before, after).

    profiles: a name -> what `module.profile()` returned.
    value: "bytes moved" (global memory: the bytes that some thread asked for, and those that came along unused),
    "sectors per request" (global memory; 4 is what a warp needs for 4-byte elements in a row) or
    "wavefronts per request" (shared memory; without bank conflicts 1, and 2 or 4 for 8 or 16 bytes a thread).
    """
    require(value in VALUES, f"profile_bars: value is {value!r}; expected one of {', '.join(map(repr, VALUES))}")
    space, unit = VALUES[value]
    rows: dict[str, float | Mapping[str, float]] = {}
    for name, profile in profiles.items():
        for line in profile.lines:
            if line.space == space:
                rows[_row_label(rows, name, line)] = _value_of(line, value)
    require(len(rows) > 0, f"profile_bars: no line of {', '.join(profiles) or 'profiles'} touches {space} memory")
    title = f"{value[0].upper()}{value[1:]} by source line, {space} memory" if title is None else title
    return bars(rows, unit=unit, title=title)


def _row_label(rows: Mapping[str, object], name: str, line: Line) -> str:
    label = f"{name}: line {line.line}, {line.operation}"
    again = sum(row.startswith(label) for row in rows)  # two accesses of different width on one line
    return f"{label} ({again + 1})" if again else label


def _value_of(line: Line, value: str) -> float | dict[str, float]:
    if value == "wavefronts per request":
        return line.wavefronts / line.requests
    if value == "sectors per request":
        return line.sectors / line.requests
    moved = line.sectors * SECTOR
    used = min(line.used_bytes, moved)  # a line that reads bytes twice within a request uses them once
    return {"used": used, "moved along, unused": moved - used}
