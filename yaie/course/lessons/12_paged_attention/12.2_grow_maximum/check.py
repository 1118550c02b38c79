from __future__ import annotations

import torch

from yaie.course.expect import expect, given

from ..common import decode, expect_weights


def check() -> None:
    launcher = "paged_decode_1_thread_per_head"
    for scores in ([1], [1, 0], [0, 1], [0, 1, 3], [3, 0, 3], [0, 100, 101], [200, 0, 199]):
        expect_weights(launcher, scores, None)
    expect_weights("paged_decode_2_warp_per_head", [2, 5, 1, 6], None)
    expect_weights("paged_decode_3_grouped", [-2, 5, 1, 6], None)
    for step, count in ((1.0, 200), (0.25, 800)):
        _expect_falling(launcher, step, count)


def _expect_falling(launcher: str, step: float, count: int) -> None:
    """A maximum that goes down with the scores, however slowly, makes earlier weights larger than a float can be."""
    keys, values = torch.zeros(1, count, 1, 8), torch.zeros(1, count, 1, 8)
    keys[0, :, 0, 0] = -step * torch.arange(count)
    values[0, 0, 0, 0] = values[0, 1, 0, 1] = 1.0
    query = torch.zeros(1, 8)
    query[0, 0] = 1
    weights = (keys[0, :, 0, 0].double() * torch.log(torch.tensor(2.0).double())).softmax(0)
    with given(f"{count} keys whose scores are 0, {-step:g}, {-2 * step:g}, ..., each with the weight 2^score"):
        out = decode(launcher, query, keys, values, [0], count)[0]
        expect(out[:2], weights[:2].float(), "weights of the first two keys", tolerance=1e-5)
