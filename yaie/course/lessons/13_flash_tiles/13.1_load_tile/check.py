from __future__ import annotations

import math

import torch

from yaie.course.expect import expect, given

from ..common import TILES, attend, keys_of, marks, module, unit_query

COALESCED = "Neighbouring threads should take neighbouring columns of a row."


def check() -> None:
    for kv_len in (3, 1, 33, 70):
        head_dim = -(-kv_len // 8) * 8
        with given(f"1 query of zeros, {kv_len} keys of zeros, value j is 1 in column j and 0 elsewhere"):
            out = attend(TILES, torch.zeros(1, 1, head_dim), torch.zeros(kv_len, 1, head_dim), marks(kv_len, head_dim))
            wanted = torch.full((kv_len,), 1 / kv_len)
            expect(out[0, 0, :kv_len], wanted, "output (the weight of each key)", tolerance=1e-5)
    for scores in ([1.0, 0.0], [0.0, 1.0, 2.0]):
        with given(f"keys whose scores are {scores}: the weight of key j is 2^score, divided by the sum"):
            out = attend(TILES, unit_query(1, 8), keys_of(scores, 8), marks(len(scores), 8))
            wanted = torch.softmax(torch.tensor(scores) * math.log(2), 0)
            expect(out[0, 0, : len(scores)], wanted, "output (the weight of each key)", tolerance=1e-5)
    value = torch.arange(5 * 2 * 8, dtype=torch.float32).reshape(5, 2, 8)
    with given("two heads, two sequences of 2 and 3 tokens, queries and keys of zeros, values 0, 1, 2, ..."):
        zeros = torch.zeros_like(value)
        out = attend(TILES, zeros, zeros, value, lengths=[(2, 2), (3, 3)])
        means = [part.mean(0, keepdim=True).expand_as(part) for part in value.split([2, 3])]
        expect(out, torch.cat(means), "output (the mean of the sequence's values)", tolerance=1e-4)
    with given("profile of one query and 32 keys of 32 columns"):
        attend(TILES, torch.zeros(1, 1, 32), torch.zeros(32, 1, 32), torch.zeros(32, 1, 32))
        loads = [line for line in module(TILES).profile().lines if (line.space, line.operation) == ("global", "load")]
        worst = max(line.sectors_per_request for line in loads)
        expect(worst <= 4, True, "number of sectors that a warp reads per request, at most 4", note=COALESCED)
