from __future__ import annotations

from pathlib import Path

import torch

from yaie.course.expect import expect, given, named
from yaie.course.language import engine_seam

LAUNCHERS = Path(__file__).with_suffix(".cu")
WRONG = [
    ([14, 13, 12, 2, 1, 0], "The rows of a page run backwards: its first token is in row 0."),
    ([13, 14, 15, 1, 2, 3], "Rows count from 0: the first token of a page is in row 0."),
    ([12, 13, 14, 3, 4, 5], "The position was added where the row belongs: what is left of it after the whole pages."),
    ([12, 0, 6, 13, 1, 7], "Page and row are swapped: the quotient is the page, the remainder is the row."),
    ([12, 1, 2, 0, 7, 8], "The page was rounded up: the positions 0 to block_size - 1 are all in page 0."),
    ([12, 1, 8, 15, 19, 26], "`block_table` has an entry for each page, not for each position."),
    ([12, 12, 14, 2, 0, 0], "`&` gives the remainder only where block_size is a power of two."),
    ([0, 22, 23, 21, 22, 23], "A float holds whole numbers up to 2^24 only: divide the ints."),
]


def check() -> None:
    module = engine_seam.module("paged_attention/paged_decode_1_thread_per_head.cu", more=LAUNCHERS)
    with given("pages of 3, block table [4, 0], positions 0 to 5"):
        table = torch.tensor([4, 0, 2, 5, 6, 8], dtype=torch.int32)  # the last four are not read
        slots = torch.full((6,), -1, dtype=torch.int32)
        module.slots_of_tokens(table, 0, 0, 6, 3, slots)
        expect(slots, [12, 13, 14, 0, 1, 2], "slots", note=named(slots, WRONG))
    cases = [
        (4, [1, 0], 0, 8),
        (2, [3, 0, 2], 0, 5),
        (1, [5, 2, 7], 0, 3),
        (8, [0], 0, 8),
        (5, [2, 4, 0, 1, 5], 0, 23),
        (3, [0, 7], 2**24 - 1, 6),
    ]
    for block_size, entries, page, count in cases:
        first = page * block_size
        wanted = [entries[i // block_size] * block_size + i % block_size for i in range(count)]
        beginning = f" from page {page} on" if page else ""
        with given(
            f"pages of {block_size}, block table {entries}{beginning}, positions {first} to {first + count - 1}"
        ):
            slots = torch.full((count,), -1, dtype=torch.int32)
            table = torch.tensor(entries, dtype=torch.int32)
            module.slots_of_tokens(table, page, first, count, block_size, slots)
            expect(slots, wanted, "slots", note=named(slots, WRONG))
