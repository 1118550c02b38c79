from __future__ import annotations

import torch

from yaie.course.expect import expect, given

from ...lesson_13.common import attend, marks
from ..common import RUNG, TOLERANCE, halves, weights_of


def check() -> None:
    for q_len, kv_len, causal in (
        (2, 2, True),
        (1, 3, False),
        (9, 9, True),
        (33, 40, True),
        (1, 63, False),
        (40, 40, True),
    ):
        kind = "causal" if causal else "not causal"
        with given(
            f"{kind}, {q_len} queries and {kv_len} keys of zeros; row i of the output is the weight of each key"
        ):
            query, key, value = halves(torch.zeros(q_len, 1, 64), torch.zeros(kv_len, 1, 64), marks(kv_len, 64))
            out = attend(RUNG, query, key, value, causal=causal)
            seen = [i + 1 + kv_len - q_len if causal else kv_len for i in range(q_len)]
            wanted = torch.stack([weights_of([0.0] * n) for n in seen])[:, :kv_len]
            expect(out[:, 0, :kv_len].float(), wanted, "weight of each key, row by row", tolerance=TOLERANCE)
