"""The way from a token to its place in the paged cache."""

from collections.abc import Sequence

from yaie.plots.svg import (
    BLUE,
    INK,
    MARGIN,
    MUTED,
    ORANGE,
    RULE,
    SMALL,
    WHITE,
    Figure,
    ink_on,
    require,
    text_width,
    tint,
    titled,
)


def page_walk(
    block_table: Sequence[int], position: int, *, context_len: int, block_size: int, num_blocks: int, title: str = ""
) -> Figure:
    """Three rows: the tokens of a sequence by position, its block table, the slots of the pool; the way of one token.

    Tokens that belong to the sequence are tinted, in the pool too; the way of the token at `position` is drawn in a
    stronger colour with thick borders and arrows.
    """
    require(block_size >= 1, f"page_walk: block_size is {block_size}; expected at least 1")
    require(
        0 <= position < context_len,
        f"page_walk: position is {position}; expected 0 to context_len - 1 = {context_len - 1}",
    )
    pages = -(-context_len // block_size)
    require(
        len(block_table) >= pages,
        f"page_walk: block_table has {len(block_table)} entries; {context_len} tokens need {pages}",
    )
    for index, block in enumerate(block_table[:pages]):
        require(0 <= block < num_blocks, f"page_walk: block_table[{index}] is {block}; expected 0 to {num_blocks - 1}")
    page, row = divmod(position, block_size)
    block = block_table[page]
    slot = block * block_size + row
    words = [
        f"position {position}: page {position} / {block_size} = {page}, row {position} % {block_size} = {row}",
        f"block_table[{page}] = {block}: slot {block} * {block_size} + {row} = {slot}",
    ]
    cell, gap, side = 22, 8, max(text_width(t, SMALL) for t in ("positions", "block table", "slots")) + 12
    span = block_size * cell
    inner = max(side + max(num_blocks, pages) * (span + gap), *(text_width(text, SMALL) + 12 for text in words))
    figure, top = titled(title, inner + 2 * MARGIN, 268, "; ".join(words) + ".")
    left = MARGIN + side

    def cells(y: int, block_left: int, numbers: Sequence[int], used: int, chosen: int | None) -> None:
        for i, number in enumerate(numbers):
            fill = ORANGE if i == chosen else tint(BLUE, 25) if i < used else WHITE
            border = {"stroke": INK, "stroke_width": 2} if i == chosen else {"stroke": RULE}
            figure.rect(block_left + i * cell, y, cell, 26, fill=fill, **border)
            figure.label(
                block_left + i * cell, y, cell, 26, str(number), size=SMALL, fill=ink_on(fill), bold=i == chosen
            )

    owner = {block: page for page, block in enumerate(block_table[:pages])}
    used_of = [min(context_len - p * block_size, block_size) for p in range(pages)]
    for name, y in (("positions", top + 4), ("block table", top + 84), ("slots", top + 164)):
        figure.text(MARGIN, y + 18, name, size=SMALL, fill=MUTED)
    for p in range(pages):
        x = left + p * (span + gap)
        numbers = range(p * block_size, p * block_size + used_of[p])
        cells(top + 4, x, numbers, block_size, row if p == page else None)
        entry = ORANGE if p == page else tint(BLUE, 25)
        border = {"stroke": INK, "stroke_width": 2} if p == page else {"stroke": RULE}
        figure.rect(x, top + 84, span, 26, fill=entry, **border)
        figure.label(x, top + 84, span, 26, f"{block_table[p]}", size=SMALL, fill=ink_on(entry), bold=p == page)
    for b in range(num_blocks):
        x = left + b * (span + gap)
        used = used_of[owner[b]] if b in owner else 0
        numbers = range(b * block_size, (b + 1) * block_size)
        cells(top + 164, x, numbers, used, row if b == block else None)
        figure.label(x, top + 192, span, 16, f"block {b}", size=SMALL, fill=MUTED)
    from_x = left + page * (span + gap)
    figure.arrow(from_x + row * cell + cell // 2, top + 31, from_x + span // 2, top + 82, stroke=INK)
    to_x = left + block * (span + gap) + row * cell + cell // 2
    figure.arrow(from_x + span // 2, top + 111, to_x, top + 162, stroke=INK)
    for i, text in enumerate(words):
        figure.text(MARGIN, top + 230 + 18 * i, text, size=SMALL)
    return figure
