from __future__ import annotations

from ..common import expect_weights


def check() -> None:
    launcher = "paged_decode_1_thread_per_head"
    for scores in ([1], [1, 0], [0, 1], [0, 1, 3], [3, 0, 3], [0, 100, 101], [200, 0, 199]):
        expect_weights(launcher, scores, None)
    expect_weights("paged_decode_2_warp_per_head", [2, 5, 1, 6], None)
    expect_weights("paged_decode_3_grouped", [-2, 5, 1, 6], None)
