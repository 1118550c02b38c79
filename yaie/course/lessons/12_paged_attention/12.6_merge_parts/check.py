from __future__ import annotations

import torch

from yaie.course.expect import expect, given

from ..common import decode, expect_weights


def check() -> None:
    launcher = "paged_decode_4_split_kv"
    for scores in ([0, 0], [0, 1], [3, 0], [0, 200], [-200, -201]):
        expect_weights(launcher, scores, (2, 1))
    expect_weights(launcher, [1, 4, 2, 0, 5], (3, 2))
    for context_len, splits in ((40, (2, 32)), (70, (3, 24))):
        size = 80
        keys = torch.zeros(1, size, 1, 32)
        values = torch.arange(size, dtype=torch.float32).reshape(1, size, 1, 1).expand(1, size, 1, 32)
        text = f"a context of {context_len} tokens, all scores 0, the value of token i is i"
        with given(f"{text}, in {splits[0]} splits of {splits[1]}"):
            query = torch.zeros(1, 32)
            out = decode(launcher, query, keys, values.contiguous(), [0], context_len, splits=splits)
            expect(out[0, 0].item(), (context_len - 1) / 2, "output", tolerance=1e-3)
