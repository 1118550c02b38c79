from __future__ import annotations

import torch

from yaie.course.expect import expect, given

from ..common import OVERLAP, draws, launchers

KEYS, HEAD_DIM = 128, 64


def check() -> None:
    module = launchers(OVERLAP, __file__)
    ones = torch.ones(64, KEYS)
    for before, factor, weight in ((0.0, 1.0, 0.5), (0.0, 0.25, 0.5), (64.0, 0.25, 1.0)):
        with given(
            f"old weights and values are 1, the sums before {before:g}, factors {factor:g}, new weights {weight:g}"
        ):
            _expect(module, ones, ones[0, :, None].expand(KEYS, HEAD_DIM), ones * weight, before, ones[:, 0] * factor)
    old, new = draws(64, KEYS).abs(), draws(64, KEYS).flip(0).abs()
    factors = 0.5 ** (torch.arange(64) % 3)  # a thread's two rows, 8 apart, differ
    with given("weights and values at random, the sums before 3, factors 1, 1/2 and 1/4 in turn"):
        _expect(module, old, draws(KEYS, HEAD_DIM), new, 3.0, factors)


def _expect(module, old, values, new, before, factors) -> None:
    sums, weights = torch.full((64, HEAD_DIM), before), torch.full((64, KEYS), -1.0)
    module.take_over_alone(old, values.half().contiguous(), new.contiguous(), factors.contiguous(), sums, weights)
    expect(sums, ((old @ values + before) * factors[:, None]), "sums[row][column]")
    expect(weights, new, "weights[row][key]")
