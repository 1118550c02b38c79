from __future__ import annotations

from ..common import OVERLAP, expect_attention


def check() -> None:
    expect_attention(__file__, OVERLAP, 100, 200, 64)
    expect_attention(__file__, OVERLAP, 260, 400, 64, heads=3)
    # So few keys that the producer is two tiles of queries ahead.
    expect_attention(__file__, OVERLAP, 260, 100, 64, heads=3)
