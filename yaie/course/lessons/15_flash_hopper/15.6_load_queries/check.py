from __future__ import annotations

import torch

from yaie.course.expect import expect, given

from ..common import OVERLAP, expect_attention, launchers

ROWS, USES = 128, 5


def check() -> None:
    module = launchers(OVERLAP, __file__)
    with given(
        f"{USES} tiles of {ROWS} queries of head 1 of 2, head_dim 128, each released when the next one is there"
    ):
        tokens, parts = torch.arange(USES * ROWS), torch.arange(4) * USES * ROWS
        query = (tokens[:, None] + parts.repeat_interleave(64)).half()  # each part of each row has a number
        returned, published = torch.full((USES, 128), -1).int(), torch.full((USES, 3), -1).int()
        module.load_queries_alone(query, returned, published, USES)
        wanted = ROWS * torch.arange(USES).int()
        note = "Only thread 0 knows `next`. In the other threads it is empty, and its first query 0."
        expect(
            published[:, 0],
            wanted,
            "first query that the consumer found in `shared.next`, by use",
            note=note,
            axes="use",
        )
        loaded = wanted[:, None] + parts[2:].int()
        expect(published[:, 1:], loaded, "first elements of the two parts of the tile, by use", axes="use part")
        said = "first query that each thread of the producer was given, by use"
        expect(returned, wanted[:, None].expand(USES, 128), said, note=note, axes="use thread")
    expect_attention(__file__, OVERLAP, 100, 200, 64)
    expect_attention(__file__, OVERLAP, 260, 400, 64, heads=3)
    # So few keys that the producer is two tiles of queries ahead.
    expect_attention(__file__, OVERLAP, 260, 100, 64, heads=3)
