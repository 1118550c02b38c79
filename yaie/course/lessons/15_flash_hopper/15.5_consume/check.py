from __future__ import annotations

from ..common import OVERLAP, expect_attention


def check() -> None:
    expect_attention(__file__, OVERLAP, 100, 200, 64)
    expect_attention(__file__, OVERLAP, 260, 400, 64, heads=3)
    # Two tiles of keys, which one warp asks for: the one that takes queries is two tiles of them ahead.
    expect_attention(__file__, OVERLAP, 260, 256, 64, heads=3)
    expect_attention(__file__, OVERLAP, 5, 0, 64, heads=4)
