"""Attention in tiles: which tiles of the scores matter, whose registers hold a fragment, where chunks lie."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from yaie.plots.svg import (
    BLUE,
    GREEN,
    INK,
    MARGIN,
    MAX_WIDTH,
    MUTED,
    ORANGE,
    PALE,
    RULE,
    SMALL,
    WHITE,
    Figure,
    Key,
    draw_legend,
    legend_height,
    plural,
    require,
    text_width,
    tint,
    titled,
)


class Cell(NamedTuple):
    """One cell of a grid."""

    text: str
    fill: str = WHITE
    hatch: bool = False
    thick: bool = False


def score_tiles(
    q_len: int, kv_len: int, tile_rows: int, tile_keys: int, *, causal: bool = True, title: str = "Tiles of the scores"
) -> Figure:
    """The scores cut into tiles: seen by all rows of the tile, seen in part (needs the mask), seen by nobody (skipped).

    A row of tiles is the work of one thread block. The queries are the last q_len of kv_len tokens.
    """
    sizes = {"q_len": q_len, "kv_len": kv_len, "tile_rows": tile_rows, "tile_keys": tile_keys}
    for name, size in sizes.items():
        require(size >= 1, f"score_tiles: {name} is {size}; expected at least 1")
    rows, columns = -(-q_len // tile_rows), -(-kv_len // tile_keys)
    kinds = [[_tile_kind(i * tile_rows, j * tile_keys, sizes, causal) for j in range(columns)] for i in range(rows)]
    looks = {
        "all": Cell("all", tint(BLUE, 45)),
        "part": Cell("part", tint(ORANGE, 45)),
        "none": Cell("", PALE, hatch=True),
    }
    keys = [
        Key("all: seen by all rows of the tile", looks["all"].fill),
        Key("part: seen in part, needs the mask", looks["part"].fill),
        Key("seen by nobody, skipped", PALE, hatch=True),
    ]
    counts = {kind: sum(row.count(kind) for row in kinds) for kind in looks}
    alt = (
        f"{q_len} queries and {kv_len} keys in tiles of {tile_rows} rows and {tile_keys} keys, "
        f"{'causal' if causal else 'not causal'}: {plural(rows * columns, 'tile')}, {counts['all']} seen by all, "
        f"{counts['part']} in part, {counts['none']} skipped. "
        + " ".join(f"Block {i}: {', '.join(row)}." for i, row in enumerate(kinds))
    )
    row_names = [f"block {i}: rows {i * tile_rows}-{min((i + 1) * tile_rows, q_len) - 1}" for i in range(rows)]
    column_names = [f"{j * tile_keys}-{min((j + 1) * tile_keys, kv_len) - 1}" for j in range(columns)]
    cells = [[looks[kind] for kind in row] for row in kinds]
    return _grid(cells, row_names, column_names, "keys", keys, title, alt, cell=62)


def _tile_kind(first_row: int, first_key: int, sizes: dict[str, int], causal: bool) -> str:
    """ "all", "part" or "none"."""
    offset = sizes["kv_len"] - sizes["q_len"]
    rows = range(first_row, min(first_row + sizes["tile_rows"], sizes["q_len"]))
    end = min(first_key + sizes["tile_keys"], sizes["kv_len"])
    seen = [min(row + offset + 1, sizes["kv_len"]) if causal else sizes["kv_len"] for row in (rows[0], rows[-1])]
    if seen[0] >= end and end == first_key + sizes["tile_keys"]:
        return "all"
    return "part" if seen[1] > first_key else "none"


def fragment_map(
    owners: Sequence[Sequence[tuple[int, int]]],
    *,
    lanes: Sequence[int] = (),
    row_title: str = "row",
    column_title: str = "column",
    title: str = "Who holds which element",
) -> Figure:
    """A matrix whose elements lie in the registers of a warp: each cell names the lane and its element.

    owners: for each row, for each column, (lane, number of the element in the lane's registers).
    lanes: up to three of them are coloured, so that one can see all that a lane holds.
    """
    require(len(owners) > 0 and len(owners[0]) > 0, "fragment_map: owners is empty; expected at least one row")
    require(len(lanes) <= 3, f"fragment_map: {len(lanes)} lanes to colour; expected at most 3")
    fills = {lane: tint(color, 50) for lane, color in zip(lanes, (BLUE, ORANGE, GREEN), strict=False)}
    cells = [
        [Cell(f"{lane}.{element}", fills.get(lane, WHITE), thick=lane in fills) for lane, element in row]
        for row in owners
    ]
    facts = {
        lane: [
            f"element {element} is {row_title} {i}, {column_title} {j}"
            for i, row in enumerate(owners)
            for j, (owner, element) in enumerate(row)
            if owner == lane
        ]
        for lane in lanes
    }
    alt = f"{len(owners)} x {len(owners[0])} elements. " + " ".join(
        f"Lane {lane}: {'; '.join(sorted(held))}." for lane, held in facts.items()
    )
    keys = [Key(f"lane {lane}", fill, str(lane), thick=True) for lane, fill in fills.items()]
    keys.append(Key("lane.element", WHITE, "l.e"))
    rows, columns = ([str(i) for i in range(n)] for n in (len(owners), len(owners[0])))
    return _grid(cells, rows, columns, column_title, keys, title, alt, cell=36)


def chunk_map(
    place: Callable[[int, int], int],
    *,
    rows: int = 8,
    chunks: int = 8,
    read: int = 2,
    title: str = "Where the chunks of a tile lie",
) -> Figure:
    """A tile in shared memory: a line of 8 slots of 16 bytes is all 32 banks, 4 in each slot.

    place: (row, chunk) -> slot, counted from the start of the tile. The cell of a slot names what lies there, as
    row.chunk. Chunk number `read` of each row is what ldmatrix reads at once; chunks below each other share banks.
    """
    held = {place(row, chunk): (row, chunk) for row in range(rows) for chunk in range(chunks)}
    require(len(held) == rows * chunks, "chunk_map: place puts two chunks into one slot")
    lines = max(held) // 8 + 1
    require(lines <= 24, f"chunk_map: the tile has {lines} lines of 128 bytes; expected 24 at most")
    cells = [[_chunk_cell(held.get(8 * line + slot), read) for slot in range(8)] for line in range(lines)]
    columns = [place(row, read) % 8 for row in range(min(rows, 8))]
    turns = max(columns.count(column) for column in columns)
    alt = (
        f"Chunk {read} of rows 0 to {len(columns) - 1} lies in the slots {', '.join(map(str, columns))} of 8: "
        f"read at once, they take {plural(turns, 'turn')}."
    )
    keys = [Key(f"chunk {read} of each row, read at once: {plural(turns, 'turn')}", tint(BLUE, 50), "", thick=True)]
    names = [f"bytes {128 * line}-{128 * line + 127}" for line in range(lines)]
    banks = [f"{4 * slot}-{4 * slot + 3}" for slot in range(8)]
    return _grid(cells, names, banks, "banks", keys, title, alt, cell=48)


def _chunk_cell(held: tuple[int, int] | None, read: int) -> Cell:
    if held is None:
        return Cell("", PALE, hatch=True)
    return Cell(f"{held[0]}.{held[1]}", tint(BLUE, 50) if held[1] == read else WHITE, thick=held[1] == read)


def _grid(
    cells: Sequence[Sequence[Cell]],
    row_names: Sequence[str],
    column_names: Sequence[str],
    column_title: str,
    keys: Sequence[Key],
    title: str,
    alt: str,
    *,
    cell: int,
) -> Figure:
    high = 24
    left = MARGIN + max(text_width(name, SMALL) for name in row_names) + 8
    width = max(left + cell * len(column_names) + MARGIN, 420)
    require(width <= MAX_WIDTH, f"a figure of {len(column_names)} columns does not fit; expected fewer")
    legend = legend_height(keys, width - 2 * MARGIN)
    figure, top = titled(title, width, 44 + high * len(cells) + 12 + legend, alt)
    figure.text(left, top + 12, column_title, size=SMALL, fill=MUTED)
    for j, name in enumerate(column_names):
        figure.label(left + j * cell, top + 18, cell, 20, name, size=SMALL, fill=MUTED)
    for i, row in enumerate(cells):
        y = top + 40 + i * high
        figure.text(left - 8, y + 16, row_names[i], size=SMALL, fill=MUTED, anchor="end")
        for j, each in enumerate(row):
            style = {"stroke": INK, "stroke_width": 2} if each.thick else {"stroke": RULE}
            figure.rect(left + j * cell, y, cell - 2, high - 2, fill=each.fill, hatch=each.hatch, **style)
            figure.label(left + j * cell, y, cell - 2, high - 2, each.text, size=SMALL)
    draw_legend(figure, keys, MARGIN, top + 44 + high * len(cells) + 8, figure.width - 2 * MARGIN)
    return figure
