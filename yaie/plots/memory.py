"""Pictures of memory: who owns the pages of a KV cache, and which addresses the threads of a warp touch."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from yaie.plots.svg import (
    BLUE,
    GRID,
    INK,
    MARGIN,
    MAX_WIDTH,
    MUTED,
    PALE,
    PALETTE,
    RULE,
    SKY,
    SMALL,
    VERMILLION,
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


@dataclass(frozen=True)
class Block:
    """A block (page) of a KV cache.

    owners: the requests whose block tables name it; none: free, two or more: shared.
    filled: how many of its slots hold a token.
    cached: the prefix cache keeps it; without an owner it may be evicted.
    """

    owners: Sequence[str] = ()
    filled: int = 0
    cached: bool = False


def blocks_of(
    block_tables: Mapping[str, Sequence[int]],
    context_lens: Mapping[str, int],
    *,
    num_blocks: int,
    block_size: int,
    cached: Collection[int] = (),
) -> list[Block]:
    """The `num_blocks` blocks of a pool, from each request's block table and its number of tokens.

    cached: ids of blocks that the prefix cache keeps (full by definition).
    """
    owners: list[list[str]] = [[] for _ in range(num_blocks)]
    filled = [block_size if block in cached else 0 for block in range(num_blocks)]
    for request, table in block_tables.items():
        require(request in context_lens, f"blocks_of: context_lens has no entry for request {request!r}")
        for index, block in enumerate(table):
            where = f"blocks_of: block_tables[{request!r}][{index}]"
            require(0 <= block < num_blocks, f"{where} is {block}; expected 0 to {num_blocks - 1}")
            owners[block].append(request)
            tokens = min(max(context_lens[request] - index * block_size, 0), block_size)
            filled[block] = max(filled[block], tokens)
    return [Block(tuple(o), f, i in cached) for i, (o, f) in enumerate(zip(owners, filled, strict=True))]


def block_map(
    blocks: Sequence[Block],
    *,
    block_size: int,
    columns: int = 8,
    title: str = "Pages of the KV cache",
    legend: bool = True,
) -> Figure:
    """The pool as a grid of blocks: owner, shared by how many, and how far each block is filled.

    A block is tinted from the left as far as its slots are filled, one tick per slot up to 16 slots. A shared block has
    one band per owner.
    """
    _check_blocks("block_map", blocks, block_size)
    require(columns >= 1, f"block_map: columns is {columns}; expected at least 1")
    colors = _colors([blocks])
    width, height, gap = max(64, min(120, max(_owner_widths(blocks)) + 16)), 58, 8
    columns = min(columns, len(blocks), (MAX_WIDTH - 2 * MARGIN + gap) // (width + gap))
    rows = -(-len(blocks) // columns)
    inner = max(columns * (width + gap) - gap, 300)
    keys = _block_keys([blocks], colors) if legend else []
    grid = rows * (height + gap)
    size = (inner + 2 * MARGIN, grid + 8 + legend_height(keys, inner))
    figure, top = titled(title, *size, _pool_alt(blocks, block_size))
    for i, block in enumerate(blocks):
        x, y = MARGIN + i % columns * (width + gap), top + i // columns * (height + gap)
        _draw_block(figure, x, y, width, height, i, block, block_size, colors)
    draw_legend(figure, keys, MARGIN, top + grid + 4, inner)
    return figure


def block_map_steps(
    steps: Sequence[Sequence[Block]],
    captions: Sequence[str],
    *,
    block_size: int,
    title: str = "Pages of the KV cache, step by step",
) -> Figure:
    """The pool over time: one row per step, one column per block, so that a page's fate reads downwards."""
    require(len(steps) > 0, "block_map_steps: steps is empty; expected at least one step")
    require(
        len(captions) == len(steps),
        f"block_map_steps: captions has {len(captions)} entries for {plural(len(steps), 'step')}; expected one each",
    )
    for i, blocks in enumerate(steps):
        _check_blocks(f"block_map_steps: steps[{i}]", blocks, block_size)
        require(
            len(blocks) == len(steps[0]),
            f"block_map_steps: steps[{i}] has {len(blocks)} blocks and steps[0] has {len(steps[0])}; expected as many",
        )
    colors = _colors(steps)
    count, height, gap = len(steps[0]), 34, 6
    side = min(max(text_width(c) for c in captions) + 12, 300)
    width = min(max((MAX_WIDTH - 2 * MARGIN - side) // count, 22), 64)
    inner = max(side + count * width, 300)
    keys = _block_keys(steps, colors)
    grid = 22 + len(steps) * (height + gap)
    alt = " ".join(f"{c}: {_pool_alt(b, block_size)}" for c, b in zip(captions, steps, strict=True))
    figure, top = titled(title, inner + 2 * MARGIN, grid + 8 + legend_height(keys, inner), alt)
    for i in range(count):
        figure.label(MARGIN + side + i * width, top, width, 18, str(i), size=SMALL, fill=MUTED)
    for row, (caption, blocks) in enumerate(zip(captions, steps, strict=True)):
        y = top + 22 + row * (height + gap)
        figure.text(MARGIN, y + 22, fit(caption, side - 8))
        for i, block in enumerate(blocks):
            _fill_block(figure, MARGIN + side + i * width, y, width - 3, height, block, block_size, colors)
            text = _owner_text(block, width - 5)
            figure.label(MARGIN + side + i * width, y, width - 3, height, text, size=SMALL)
    draw_legend(figure, keys, MARGIN, top + grid + 4, inner)
    return figure


def _check_blocks(where: str, blocks: Sequence[Block], block_size: int) -> None:
    require(block_size >= 1, f"{where}: block_size is {block_size}; expected at least 1")
    require(len(blocks) > 0, f"{where}: blocks is empty; expected at least one Block")
    for i, block in enumerate(blocks):
        require(
            0 <= block.filled <= block_size,
            f"{where}: blocks[{i}].filled is {block.filled}; expected 0 to block_size ({block_size})",
        )


def _colors(steps: Sequence[Sequence[Block]]) -> dict[str, str]:
    """A colour per request, in the order in which they first appear."""
    names = dict.fromkeys(name for blocks in steps for block in blocks for name in block.owners)
    return {name: tint(PALETTE[i % len(PALETTE)], 45) for i, name in enumerate(names)}


def _owner_widths(blocks: Sequence[Block]) -> list[int]:
    return [text_width(name, SMALL) for block in blocks for name in block.owners] or [0]


def _owner_text(block: Block, room: int) -> str:
    """The owners' names, or their number where the names take too much room."""
    if not block.owners:
        return "cache" if block.cached and room >= 40 else "c" if block.cached else ""
    names = "+".join(block.owners)
    return names if len(block.owners) == 1 or text_width(names, SMALL) <= room else f"×{len(block.owners)}"


def _fill_block(
    figure: Figure, x: int, y: int, width: int, height: int, block: Block, block_size: int, colors: Mapping[str, str]
) -> None:
    """A block tinted as far as it is filled: one band per owner, a hatch where only the cache holds it."""
    figure.rect(x, y, width, height, fill=WHITE, stroke="none")
    reach = width * block.filled // block_size
    fills = [colors[name] for name in block.owners] or ([PALE] if block.cached else [])
    for i, fill in enumerate(fills):
        low, high = height * i // len(fills), height * (i + 1) // len(fills)
        figure.rect(x, y + low, reach, high - low, fill=fill, stroke="none", hatch=not block.owners)
    shared = len(block.owners) > 1
    dash = "" if block.owners or block.cached else "3 3"
    figure.rect(
        x, y, width, height, fill="none", stroke=INK if shared else RULE, stroke_width=2 if shared else 1, dash=dash
    )


def _draw_block(
    figure: Figure,
    x: int,
    y: int,
    width: int,
    height: int,
    index: int,
    block: Block,
    block_size: int,
    colors: Mapping[str, str],
) -> None:
    _fill_block(figure, x, y, width, height, block, block_size, colors)
    if block_size <= 16:
        for slot in range(1, block_size):
            tick = x + width * slot // block_size
            figure.line(tick, y + height - 6, tick, y + height, stroke=RULE)
    figure.text(x + 5, y + 15, str(index), size=SMALL, fill=MUTED)
    if len(block.owners) > 1:
        figure.text(x + width - 5, y + 15, f"×{len(block.owners)}", size=SMALL, anchor="end", bold=True)
    elif 0 < block.filled < block_size:
        figure.text(x + width - 5, y + 15, f"{block.filled}/{block_size}", size=SMALL, anchor="end")
    text = _owner_text(block, width - 6) or "free"
    figure.label(x, y + 18, width, height - 26, text, fill=INK if block.owners else MUTED, bold=bool(block.owners))


def _block_keys(steps: Sequence[Sequence[Block]], colors: Mapping[str, str]) -> list[Key]:
    """A legend of the requests and of those states that occur."""
    every = [block for blocks in steps for block in blocks]
    keys = [Key(f"request {name}", color, name if len(name) <= 2 else "") for name, color in colors.items()]
    if any(len(b.owners) > 1 for b in every):
        keys.append(Key("shared by several requests", WHITE, "×2", thick=True))
    if any(b.cached and not b.owners for b in every):
        keys.append(Key("kept by the prefix cache, evictable", PALE, "", hatch=True))
    if any(not b.owners and not b.cached for b in every):
        keys.append(Key("free", WHITE, dash="3 3"))
    return keys


def _pool_alt(blocks: Sequence[Block], block_size: int) -> str:
    free = [i for i, b in enumerate(blocks) if not b.owners and not b.cached]
    kept = [i for i, b in enumerate(blocks) if not b.owners and b.cached]
    held: dict[str, list[str]] = {}
    for i, block in enumerate(blocks):
        for name in block.owners:
            held.setdefault(name, []).append(_block_fact(i, block, block_size))
    parts = [f"{plural(len(blocks), 'block')} of {plural(block_size, 'slot')}"]
    parts += [f"{name} holds {', '.join(facts)}" for name, facts in held.items()]
    if kept:
        parts.append(f"the prefix cache alone holds {', '.join(map(str, kept))}")
    parts.append(f"free: {', '.join(map(str, free)) or 'none'}")
    return "; ".join(parts) + "."


def _block_fact(index: int, block: Block, block_size: int) -> str:
    shared = f"shared by {len(block.owners)}" if len(block.owners) > 1 else ""
    partial = f"{block.filled} of {block_size} slots filled" if block.filled < block_size else ""
    facts = ", ".join(fact for fact in (shared, partial) if fact)
    return f"{index} ({facts})" if facts else str(index)


def threads_to_memory(
    addresses: Sequence[int | None],
    *,
    access_bytes: int = 4,
    sector_bytes: int = 32,
    operation: str = "load",
    title: str | None = None,
) -> Figure:
    """Threads above, the touched sectors of memory below, a line from each thread to where it reads.

    addresses: a byte address per thread, None where the thread is inactive. Global memory moves whole sectors
    (32 bytes on NVIDIA GPUs), so the picture says how many bytes were wanted and how many moved.
    operation: "load", "store" or "atomic", for the words.
    """
    _check_addresses("threads_to_memory", addresses, access_bytes)
    verb = _verb("threads_to_memory", operation)
    title = f"Which sectors the threads of a warp {verb}" if title is None else title
    require(sector_bytes >= 1, f"threads_to_memory: sector_bytes is {sector_bytes}; expected at least 1")
    sectors = _sectors(addresses, access_bytes, sector_bytes)
    left = _sector_positions(sectors, len(addresses))
    cell = _thread_cell(addresses)
    width = max(left[sectors[-1]][1], MARGIN + cell * len(addresses), 500) + MARGIN
    words = _traffic(addresses, access_bytes, sector_bytes, len(sectors))
    figure, top = titled(title, width, 226, f"{words} {_access_alt(addresses, sectors, verb)}")
    shift = (width - 2 * MARGIN - cell * len(addresses)) // 2
    figure.text(MARGIN, top + 12, "threads", size=SMALL, fill=MUTED)
    for thread, address in enumerate(addresses):
        x = MARGIN + shift + thread * cell
        _draw_thread(figure, x, top + 18, cell, thread, address is not None)
        if address is not None:
            at, right = left[address // sector_bytes]
            middle = (address % sector_bytes + access_bytes / 2) / sector_bytes
            figure.line(x + cell // 2, top + 42, at + (right - at) * min(middle, 1), top + 130, stroke=BLUE)
    _draw_sectors(figure, top + 130, left, sectors, sector_bytes)
    figure.text(MARGIN, top + 212, words, size=SMALL)
    return figure


def _check_addresses(where: str, addresses: Sequence[int | None], access_bytes: int) -> None:
    active = [a for a in addresses if a is not None]
    require(bool(active), f"{where}: addresses has no active thread; expected at least one address")
    require(len(addresses) <= 32, f"{where}: addresses has {len(addresses)} entries; expected at most 32, one warp")
    require(min(active) >= 0, f"{where}: addresses holds {min(active)}; expected no negative address")
    require(access_bytes >= 1, f"{where}: access_bytes is {access_bytes}; expected at least 1")


def _sectors(addresses: Sequence[int | None], access_bytes: int, sector_bytes: int) -> list[int]:
    """Numbers of the touched sectors, ascending; an access may reach into the next sector."""
    touched: set[int] = set()
    for address in addresses:
        if address is not None:
            touched.update(range(address // sector_bytes, (address + access_bytes - 1) // sector_bytes + 1))
    return sorted(touched)


def _sector_positions(sectors: Sequence[int], threads: int) -> dict[int, tuple[int, int]]:
    """Left and right edge of each sector: neighbours touch, and a gap in memory is a gap in the picture."""
    gaps = sum(b - a > 1 for a, b in pairwise(sectors))
    gap = 10 if gaps <= 16 else 6
    room = MAX_WIDTH - 2 * MARGIN - gap * gaps
    width = max(min(room // len(sectors), 200), 8)
    span = width * len(sectors) + gap * gaps
    x = MARGIN + max(0, (max(26 * threads, 468) - span) // 2)
    positions, before = {}, sectors[0]
    for sector in sectors:
        x += gap if sector - before > 1 else 0
        positions[sector] = (x, x + width)
        x, before = x + width, sector
    return positions


def _thread_cell(addresses: Sequence[int | None]) -> int:
    return 26 if len(addresses) > 16 else 36


def _draw_thread(figure: Figure, x: int, y: int, cell: int, thread: int, active: bool) -> None:
    figure.rect(x, y, cell - 3, 24, fill=tint(SKY) if active else PALE, dash="" if active else "3 3", radius=3)
    figure.label(x - 1, y, cell - 1, 24, str(thread), size=SMALL, fill=INK if active else MUTED)


def _draw_sectors(
    figure: Figure, y: int, left: Mapping[int, tuple[int, int]], sectors: Sequence[int], sector_bytes: int
) -> None:
    room = left[sectors[0]][1] - left[sectors[0]][0] - 2
    word = "sector " if room >= 94 else ""
    numbered = text_width(f"{word}{sectors[-1]}", SMALL) <= room
    for sector in sectors:
        x, right = left[sector]
        figure.rect(x, y, right - x, 34, fill=tint(VERMILLION, 30), stroke=VERMILLION, stroke_width=1)
        figure.label(x, y, right - x, 34, f"{word}{sector}" if numbered else "", size=SMALL)
    first, last = left[sectors[0]][0], left[sectors[-1]][1]
    figure.text(first, y + 50, f"byte {sectors[0] * sector_bytes}", size=SMALL, fill=MUTED)
    if last - first > 220:
        end = (sectors[-1] + 1) * sector_bytes - 1
        figure.text(last, y + 50, f"byte {end}", size=SMALL, anchor="end", fill=MUTED)


def _traffic(addresses: Sequence[int | None], access_bytes: int, sector_bytes: int, sectors: int) -> str:
    wanted = len({a + i for a in addresses if a is not None for i in range(access_bytes)})
    moved = sectors * sector_bytes
    return (
        f"{plural(wanted, 'byte')} wanted, {plural(sectors, 'sector')} of {sector_bytes} = "
        f"{plural(moved, 'byte')} moved: {100 * wanted / moved:.3g}% of the traffic is used."
    )


def _verb(where: str, operation: str) -> str:
    verbs = {"load": "read", "store": "write", "atomic": "update"}
    require(operation in verbs, f"{where}: operation is {operation!r}; expected one of {', '.join(map(repr, verbs))}")
    return verbs[operation]


def _access_alt(addresses: Sequence[int | None], sectors: Sequence[int], verb: str) -> str:
    active = [(t, a) for t, a in enumerate(addresses) if a is not None]
    steps = {b - a for (_, a), (_, b) in pairwise(active)}
    even = f", {steps.pop()} bytes apart" if len(steps) == 1 else ""
    parts = [f"{plural(len(active), 'thread')} of {len(addresses)} {verb}{even}."]
    if not even:
        parts.append("Addresses: " + ", ".join(f"thread {t} byte {a}" for t, a in active) + ".")
    return " ".join([*parts, f"Sectors touched: {_ranges(sectors)}."])


def _ranges(values: Sequence[int]) -> str:
    """Ascending numbers with runs shortened: 0-3, 7."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


class Word(NamedTuple):
    """A word in a bank and the threads that ask for it together.

    clash: another word of the same bank is asked for in the same phase.
    """

    threads: list[int]
    clash: bool


def bank_map(
    addresses: Sequence[int | None],
    *,
    num_banks: int = 32,
    bank_bytes: int = 4,
    access_bytes: int = 4,
    operation: str = "load",
    title: str = "Shared memory banks",
) -> Figure:
    """The banks of shared memory as columns, and in each the threads that read from it, stacked by word.

    addresses: a byte address per thread, None where it is inactive. Threads that read the same word share one access;
    different words of one bank are served one after the other, so the highest column is the number of turns.
    access_bytes: an access of 8 or 16 bytes a thread is served in phases of 16 or 8 threads, each at least one turn.
    operation: "load", "store" or "atomic", for the words.
    """
    _check_addresses("bank_map", addresses, access_bytes)
    require(1 <= num_banks <= 32, f"bank_map: num_banks is {num_banks}; expected 1 to 32")
    verb = _verb("bank_map", operation)
    phases = _phases(addresses, access_bytes, bank_bytes, num_banks)
    banks: dict[int, list[Word]] = {bank: [] for bank in range(num_banks)}
    for held in phases:
        for bank, words in held.items():
            banks[bank] += [Word(threads, len(words) > 1) for threads in words.values()]
    return _draw_banks(banks, _turns(phases), verb, title)


def access_cost(addresses: Sequence[int | None], access_bytes: int) -> tuple[int, list[int]]:
    """What an access of a warp costs: sectors of 32 bytes if it is global, turns of each phase if it is shared."""
    return len(_sectors(addresses, access_bytes, 32)), _turns(_phases(addresses, access_bytes, 4, 32))


def _phases(
    addresses: Sequence[int | None], access_bytes: int, bank_bytes: int, num_banks: int
) -> list[dict[int, dict[int, list[int]]]]:
    """For each phase of an access, bank -> word -> the threads that ask for it."""
    per_phase = max(32 * bank_bytes // max(access_bytes, bank_bytes), 1)
    phases: list[dict[int, dict[int, list[int]]]] = []
    for thread, address in enumerate(addresses):
        if thread % per_phase == 0:
            phases.append({bank: {} for bank in range(num_banks)})
        if address is not None:
            for word in range(address // bank_bytes, (address + access_bytes - 1) // bank_bytes + 1):
                phases[-1][word % num_banks].setdefault(word, []).append(thread)
    return phases


def _turns(phases: Sequence[Mapping[int, Mapping[int, list[int]]]]) -> list[int]:
    """The most words of one bank in each phase that has any."""
    return [most for held in phases if (most := max(len(words) for words in held.values()))]


def _draw_banks(banks: Mapping[int, Sequence[Word]], turns: Sequence[int], verb: str, title: str) -> Figure:
    highest = max(len(words) for words in banks.values())
    cell, shown = 26, min(highest, 8)
    width = max(cell * len(banks), 480) + 2 * MARGIN
    words = _turns_text(turns)
    figure, top = titled(title, width, 22 * shown + 92, f"{words} {_bank_alt(banks, verb)}")
    base = top + 18 + 22 * shown
    hidden = highest > shown
    several = any(len(word.threads) > 1 for held in banks.values() for word in held)
    words_above = f"banks; above each, the threads that {verb if verb != 'read' else 'read from'} it" + (
        f" (0+: thread 0 and others {verb} one word together)" if several else ""
    )
    for bank, held in banks.items():
        x = MARGIN + bank * cell
        for level, word in enumerate(held):
            if level >= shown - hidden:
                break
            _draw_access(figure, x, base - 22 * (level + 1), cell, word)
        if len(held) >= shown and hidden:
            figure.label(x - 6, top + 18, cell + 10, 20, f"+{len(held) - shown + 1}", size=SMALL)
        figure.rect(x, base + 4, cell - 3, 22, fill=PALE, stroke=GRID)
        figure.label(x - 1, base + 4, cell - 1, 22, str(bank), size=SMALL, fill=MUTED)
    figure.text(MARGIN, base + 42, words_above, size=SMALL, fill=MUTED)
    figure.text(MARGIN, base + 62, words)
    return figure


def _turns_text(turns: Sequence[int]) -> str:
    """turns: those of each phase."""
    clash = f"{max(turns)}-way bank conflict" if max(turns) > 1 else "no bank conflict"
    phases = f" in {len(turns)} phases" if len(turns) > 1 else ""
    return f"{clash}: the access takes {plural(sum(turns), 'turn')}{phases}."


def _draw_access(figure: Figure, x: int, y: int, cell: int, word: Word) -> None:
    text = str(word.threads[0]) if len(word.threads) == 1 else f"{word.threads[0]}+"
    color, dash = (VERMILLION, "4 2") if word.clash else (BLUE, "")
    figure.rect(x, y, cell - 3, 20, fill=tint(color, 30), stroke=color, dash=dash, radius=3)
    figure.label(x - 1, y, cell - 1, 20, text, size=SMALL)


def _bank_alt(banks: Mapping[int, Sequence[Word]], verb: str) -> str:
    clashes = {b: sum(word.clash for word in words) for b, words in banks.items()}
    idle = [b for b, words in banks.items() if not words]
    shared = [word for words in banks.values() for word in words if len(word.threads) > 1]
    parts = [f"{plural(len(banks), 'bank')}."]
    if any(clashes.values()):
        parts.append("Different words in " + ", ".join(f"bank {b}: {n}" for b, n in clashes.items() if n) + ".")
    if shared:
        past = {"read": "read", "write": "written", "update": "updated"}[verb]
        parts.append(f"{plural(len(shared), 'word')} {past} by several threads at once.")
    if idle:
        parts.append(f"Idle banks: {_ranges(idle)}.")
    return " ".join(parts)
