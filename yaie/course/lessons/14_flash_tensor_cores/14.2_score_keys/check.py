from __future__ import annotations

import torch

from yaie.course.expect import expect, given

from ...lesson_13.common import attend, marks, module
from ..common import RUNG, TOLERANCE, halves, weights_of


def check() -> None:
    for scores in ([0, 1], [3, 0, 2, 1], [i % 5 for i in range(20)], [i * 7 % 6 for i in range(64)]):
        for columns in ((0,), (9, 20)):
            key = torch.zeros(len(scores), 1, 64)
            key[:, 0, columns[-1]] = torch.tensor(scores, dtype=torch.float32)
            query = torch.zeros(1, 1, 64)
            query[..., list(columns)] = 1.0
            text = f"one query with a 1 in column {' and '.join(map(str, columns))}, keys with {scores} in column"
            with given(f"{text} {columns[-1]}: these are the scores (a score of s weighs 2^s)"):
                out = attend(RUNG, *halves(query, key, marks(len(scores), 64)))
                wanted = weights_of(scores)[: len(scores)]
                expect(out[0, 0, : len(scores)].float(), wanted, "weight of each key", tolerance=TOLERANCE)
    query = torch.zeros(128, 1, 64)
    query[torch.arange(128), 0, torch.arange(128) % 64] = 1.0
    with given(
        "128 queries, query i with a 1 in column i % 64; 64 keys, key j with a 6 in column j: the score is 6 or 0"
    ):
        out = attend(RUNG, *halves(query, 6 * marks(64, 64), marks(64, 64)))
        wanted = (torch.eye(64).repeat(2, 1) * 63 + 1) / (64 + 63)
        expect(out[:, 0].float(), wanted, "weight of each key, row by row", tolerance=TOLERANCE)
    with given("profile of 16 queries and 64 keys"):
        attend(RUNG, *halves(torch.zeros(16, 1, 64), torch.zeros(64, 1, 64), torch.zeros(64, 1, 64)))
        conflicts = module(RUNG).profile().bank_conflicts
        note = "`place` gives addresses without conflicts: ask for 8 rows of one chunk at a time."
        expect(conflicts, 0, "number of bank conflicts", note=note)
