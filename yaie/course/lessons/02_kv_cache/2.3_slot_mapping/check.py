from __future__ import annotations

import torch

from yaie.course.expect import expect, expect_error, given

from ..common import give, make


def check() -> None:
    for block_size, table, num_tokens, start, end in (
        (4, [2, 7], 8, 0, None),  # both blocks are full
        (4, [7, 2], 8, 3, 5),
        (4, [0], 1, 0, None),
        (4, [2], 3, 0, None),
        (4, [7, 2], 6, 0, None),
        (4, [7, 2, 5, 0], 14, 9, None),
        (4, [7, 2], 6, 6, 6),
        (1, [3, 6, 1], 3, 0, None),
        (16, [1, 0], 17, 15, 17),
        (4, [7, 2], 6, 0, 0),
    ):
        manager = make(num_blocks=8, block_size=block_size)
        give(manager, "A", table, num_tokens)
        rows = torch.arange(8 * block_size).view(8, block_size)  # every slot of the pool, block by block
        slots = [slot for block_id in table for slot in rows[block_id].tolist()][:num_tokens]
        arguments = '"A"' if (start, end) == (0, None) else f'"A", {start}, {end}'
        with given(f"slot_mapping({arguments}), block_size={block_size}, table {table}, {num_tokens} tokens"):
            got = manager.slot_mapping("A") if (start, end) == (0, None) else manager.slot_mapping("A", start, end)
            expect(type(got), list, "type of the result")
            expect(got, slots[start:end], "list of slots")
    for start, end in ((0, 7), (-1, 2), (4, 3)):
        manager = make(num_blocks=8, block_size=4)
        give(manager, "A", [7, 2], 6)
        with given(f'slot_mapping("A", {start}, {end}), block_size=4, table [7, 2], 6 tokens'):
            what = "answer to positions that the request does not have"
            expect_error(lambda: manager.slot_mapping("A", start, end), ValueError, what)  # noqa: B023
    manager = make(num_blocks=8, block_size=4)
    give(manager, "A", [7, 2], 6)
    with given('slot_mapping("B"), where only "A" has blocks'):
        expect_error(lambda: manager.slot_mapping("B"), KeyError, "answer to a request without blocks")
