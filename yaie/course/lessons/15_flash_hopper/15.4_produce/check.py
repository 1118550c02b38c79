from __future__ import annotations

from ..common import WGMMA, expect_attention


def check() -> None:
    for head_dim in (64, 128):
        expect_attention(__file__, WGMMA, 3, 5, head_dim)
        expect_attention(__file__, WGMMA, 100, 700, head_dim, heads=2)
    expect_attention(__file__, WGMMA, 300, 320, 64, causal=True)
