from __future__ import annotations

from ..common import WGMMA, expect_attention


def check() -> None:
    for head_dim in (64, 128):
        expect_attention(WGMMA, 3, 5, head_dim)
        expect_attention(WGMMA, 100, 700, head_dim, heads=2)
