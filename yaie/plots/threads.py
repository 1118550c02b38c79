"""Which thread of a grid works on which element: the map that every kernel begins with."""

from collections.abc import Mapping, Sequence

from yaie.plots.svg import (
    GRID,
    INK,
    MARGIN,
    MAX_WIDTH,
    MUTED,
    PALETTE,
    SMALL,
    WHITE,
    Figure,
    plural,
    require,
    text_width,
    tint,
    titled,
)

CELL, GAP = 26, 14
LEGEND = "above: threads, by their number in the block; below: elements"


def thread_map(
    work: Sequence[Sequence[Sequence[int]]], num_elements: int, *, title: str = "Which thread works on which element"
) -> Figure:
    """Blocks of threads above, elements below, a line from each thread to each of its elements.

    work: for each block, for each of its threads, the elements that it works on; an empty list is a thread that has
    nothing to do. An element that several threads work on is framed, one that nobody works on stays white, and an
    index outside 0 to num_elements - 1 is drawn beyond the end of the array. An element has the colour of its block.
    """
    require(len(work) > 0, "thread_map: work is empty; expected at least one block")
    require(num_elements >= 1, f"thread_map: num_elements is {num_elements}; expected at least 1")
    for i, block in enumerate(work):
        require(len(block) > 0, f"thread_map: work[{i}] is empty; expected at least one thread")
        require(
            all(element >= 0 for elements in block for element in elements),
            f"thread_map: work[{i}] has an element below 0",
        )
    owners = _owners(work)
    cells = max(num_elements, max(owners, default=0) + 1)
    num_threads = sum(map(len, work))
    wide = max(CELL * cells, CELL * num_threads + GAP * (len(work) - 1))
    require(
        wide <= MAX_WIDTH - 2 * MARGIN,
        f"thread_map: {num_threads} threads and {cells} elements do not fit; expected about 30 at most",
    )
    summary = _summary(work, num_elements, owners)
    inner = max(wide, text_width(summary, SMALL), text_width(LEGEND, SMALL))
    figure, top = titled(title, inner + 2 * MARGIN, 236, _alt(work, num_elements, owners))
    left = (figure.width - CELL * num_threads - GAP * (len(work) - 1)) // 2
    below = (figure.width - CELL * cells) // 2
    x = left
    for number, block in enumerate(work):
        color = PALETTE[number % len(PALETTE)]
        figure.label(x, top, CELL * len(block), 18, f"block {number}", size=SMALL, fill=MUTED)
        for thread, elements in enumerate(block):
            for element in elements:
                figure.line(x + CELL // 2, top + 44, below + element * CELL + CELL // 2, top + 150, stroke=color)
            fill, dash = (tint(color, 45), "") if elements else (WHITE, "3 3")
            figure.rect(x, top + 20, CELL - 2, 24, fill=fill, dash=dash, radius=4)
            figure.label(x, top + 20, CELL - 2, 24, str(thread), size=SMALL, fill=INK if elements else MUTED)
            x += CELL
        x += GAP
    for element in range(cells):
        blocks = [block for block, _ in owners.get(element, [])]
        inside = element < num_elements
        fill = tint(PALETTE[blocks[0] % len(PALETTE)], 45) if blocks and inside else WHITE
        thick = len(blocks) > 1
        figure.rect(
            below + element * CELL,
            top + 150,
            CELL - 2,
            24,
            fill=fill,
            stroke=INK if thick else GRID if not blocks else MUTED,
            stroke_width=2 if thick else 1,
            dash="" if inside else "3 3",
        )
        figure.label(below + element * CELL, top + 150, CELL - 2, 24, str(element), size=SMALL)
    figure.text(MARGIN, top + 198, LEGEND, size=SMALL, fill=MUTED)
    figure.text(MARGIN, top + 220, summary, size=SMALL)
    return figure


def _owners(work: Sequence[Sequence[Sequence[int]]]) -> dict[int, list[tuple[int, int]]]:
    """Element -> the (block, thread) pairs that work on it."""
    owners: dict[int, list[tuple[int, int]]] = {}
    for number, block in enumerate(work):
        for thread, elements in enumerate(block):
            for element in elements:
                owners.setdefault(element, []).append((number, thread))
    return owners


def _summary(
    work: Sequence[Sequence[Sequence[int]]], num_elements: int, owners: Mapping[int, Sequence[tuple[int, int]]]
) -> str:
    idle = sum(not elements for block in work for elements in block)
    parts = [f"{plural(sum(map(len, work)), 'thread')}, {plural(num_elements, 'element')}"]
    parts += [f"{plural(idle, 'thread')} without work"] if idle else []
    several = sum(len(pairs) > 1 for pairs in owners.values())
    parts += [f"{plural(several, 'element')} with several threads"] if several else []
    nobody = num_elements - sum(element < num_elements for element in owners)
    parts += [f"{plural(nobody, 'element')} that nobody works on"] if nobody else []
    outside = sum(element >= num_elements for element in owners)
    parts += [f"{plural(outside, 'index')} past the end".replace("indexs", "indices")] if outside else []
    return "; ".join(parts)


def _alt(
    work: Sequence[Sequence[Sequence[int]]], num_elements: int, owners: Mapping[int, Sequence[tuple[int, int]]]
) -> str:
    facts = [
        f"block {number} thread {thread}: {', '.join(map(str, elements)) or 'none'}"
        for number, block in enumerate(work)
        for thread, elements in enumerate(block)
    ]
    return f"{_summary(work, num_elements, owners)}. Elements of each thread: {'; '.join(facts)}."
