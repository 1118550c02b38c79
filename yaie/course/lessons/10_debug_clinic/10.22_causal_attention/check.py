from __future__ import annotations

import torch

from yaie.course.expect import expect, given
from yaie.kernels.attention import causal_attention

from ..common import means_seen


def check() -> None:
    for past, new in ((0, 3), (5, 1), (16, 4), (0, 10), (20, 4), (7, 17)):
        with given(f"{past} past and {new} new tokens; token j has the value j, all weights are equal"):
            wanted = [(past + i) / 2 for i in range(new)]
            expect(means_seen(past, new), wanted, "what each new token gets", tolerance=1e-3)
    with given("0 past and 10 new tokens, of which the first two are padding"):
        keep = torch.ones(1, 10, dtype=torch.bool)
        keep[:, :2] = False
        wanted = [0.0, 0.0] + [(2 + i) / 2 for i in range(2, 10)]
        expect(means_seen(0, 10, keep), wanted, "what each new token gets", tolerance=1e-3)
    with given("one head, 2 past and 2 new tokens with random keys"):
        generator = torch.Generator().manual_seed(0)
        query, key, value = (torch.randn(1, n, 1, 4, generator=generator) for n in (2, 4, 4))
        scores = (query[0, :, 0] @ key[0, :, 0].T) * 3
        scores[0, 3] = -torch.inf
        wanted = (scores.softmax(-1) @ value[0, :, 0], scores.logsumexp(-1))
        out, lse = causal_attention(query, key, value, 2, scale=3.0)
        expect(out[0, :, 0], wanted[0], "output", tolerance=1e-4)
        expect(lse[0, :, 0], wanted[1], "lse", tolerance=1e-4)
