from __future__ import annotations

from pathlib import Path

import torch

from yaie.course.expect import Mismatch, expect, given
from yaie.course.language import engine_seam

LAUNCHERS = Path(__file__).with_suffix(".cu")
NOBODYS = -1  # a row of the pool that holds no token of the sequence
CASES = (
    # tokens of a page, block table, first, end
    (4, [1, 0], 0, 6),
    (4, [1, 2], 0, 8),
    (8, [3], 0, 1),
    (4, [2, 1], 4, 7),
    (1, [5, 2, 7], 0, 3),
    (16, [3, 1, 2], 0, 48),
    (16, [3, 1, 2], 32, 41),
    (3, [9, 4, 1, 2, 3, 8, 5, 6, 7, 11, 10, 12], 1, 34),
)


def check() -> None:
    module = engine_seam.module("paged_attention/paged_decode_3_grouped.cu", more=LAUNCHERS)
    for block_size, entries, first, end in CASES:
        pool = torch.full((max(entries) + 2, block_size), NOBODYS, dtype=torch.int32)
        for position in range(end):
            pool[entries[position // block_size], position % block_size] = position
        read = torch.full((64,), -2, dtype=torch.int32)
        with given(f"pages of {block_size}, block table {entries}, first {first}, end {end}"):
            module.read_by_lanes(torch.tensor(entries, dtype=torch.int32), first, end, block_size, pool, read)
            _expect_reads(read.view(2, 32), first, end, block_size)


def _note(read: torch.Tensor, wanted: torch.Tensor, block_size: int) -> str:
    """What the lanes read instead, where it is one of these."""
    if torch.equal(read, wanted // block_size * block_size) and block_size > 1:
        return "Each lane reads the first row of its page. Within the page it is row position % block_size."
    if torch.equal(read, wanted - wanted[0, 0]):
        return "The lanes read the tokens from 0 on, not from `first` on."
    if torch.equal(read, wanted + 1):
        return "Each lane reads the token after its own."
    return ""


def _expect_reads(read: torch.Tensor, first: int, end: int, block_size: int) -> None:
    there = min(32, end - first)
    wanted = torch.arange(first, first + there).expand(2, there)
    what = "position that each lane of the two warps reads, where it has a token"
    expect(read[:, :there], wanted, what, note=_note(read[:, :there], wanted, block_size), axes="warp lane")
    for warp, lane in (read[:, there:] == NOBODYS).nonzero().tolist()[:1]:
        what = f"row that lane {there + lane} of warp {warp} reads"
        note = "This lane has no token of its own, and may read none but the sequence's."
        raise Mismatch(what, "a row that holds no token of it", f"that of one of the tokens before {end}", note=note)
