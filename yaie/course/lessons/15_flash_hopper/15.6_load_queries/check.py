from __future__ import annotations

import torch

from yaie.course.expect import expect, given

from ..common import OVERLAP, expect_attention, launchers

ROWS, USES = 192, 5


def check() -> None:
    module = launchers(OVERLAP, __file__)
    with given(f"{USES} tiles of {ROWS} queries; the consumer releases each when the next one is there, too"):
        query = torch.zeros(USES * ROWS, 64).half()
        returned, published = torch.full((USES, 128), -1).int(), torch.full((USES,), -1).int()
        module.load_queries_alone(query, returned, published, USES)
        wanted = ROWS * torch.arange(USES).int()
        note = "Only thread 0 knows `next`. In the other threads it is empty, and its first query 0."
        expect(published, wanted, "first query that the consumer found in `shared.next`, by use", note=note, axes="use")
        said = "first query that each thread of the producer was given, by use"
        expect(returned, wanted[:, None].expand(USES, 128), said, note=note, axes="use thread")
    expect_attention(__file__, OVERLAP, 100, 200, 64)
    expect_attention(__file__, OVERLAP, 260, 400, 64, heads=3)
    # So few keys that the producer is two tiles of queries ahead.
    expect_attention(__file__, OVERLAP, 260, 100, 64, heads=3)
