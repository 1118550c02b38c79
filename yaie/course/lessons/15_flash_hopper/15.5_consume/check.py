from __future__ import annotations

import torch

from yaie.course.expect import expect, given

from ..common import OVERLAP, expect_attention, launchers

ROWS = 192  # of a tile of queries


def check() -> None:
    module = launchers(OVERLAP, __file__)
    for uses in (1, 2, 5):
        with given(f"queries that see no key, tiles of them: {uses}, each slot filled as soon as it has been released"):
            out = torch.full((uses * ROWS, 64), torch.nan).half()
            module.consume_alone(out, uses)
            expect(out.float(), torch.zeros(uses * ROWS, 64), "output", axes="query column")
    expect_attention(__file__, OVERLAP, 100, 200, 64)
    expect_attention(__file__, OVERLAP, 260, 400, 64, heads=3)
    # Two tiles of keys, which one warp asks for: the one that takes queries is two tiles of them ahead.
    expect_attention(__file__, OVERLAP, 260, 256, 64, heads=3)
    expect_attention(__file__, OVERLAP, 5, 0, 64, heads=4)
