from __future__ import annotations

import torch

from yaie.course.differences import part_of_product
from yaie.course.expect import Mismatch, expect, given

from ..common import launchers

SIZES = {64: (128, 64), 128: (64, 32)}  # by head_dim: rows of 4 warps, keys
BANDS = {64: "HEAD_DIM 64, BANDS 2, BLOCKS 8", 128: "HEAD_DIM 128, BANDS 1, BLOCKS 4"}


def check() -> int:
    module = launchers(__file__)
    torch.manual_seed(0)
    for before in (0, 1000):
        for head_dim in SIZES:
            rows, keys = SIZES[head_dim]
            query, key = torch.zeros(rows, head_dim), torch.zeros(keys, head_dim)
            column = (5 * torch.arange(keys) + 3) % head_dim  # else a missing key looks like a missing column
            query[torch.arange(rows), column[torch.arange(rows) % keys]] = 1.0
            key[torch.arange(keys), column] = 1 + torch.arange(keys) / 128  # added twice, one looks like no other
            with given(
                f"{BANDS[head_dim]}; key j has 1 + j / 128 in column (5 j + 3) % {head_dim}, query i has a 1 in that "
                f"of key i % {keys}, all else is 0; the scores are {before} before"
            ):
                scores = _scores(module, query, key, before)
                wanted = query @ key.T + before
                note = part_of_product(scores - before, query, key) or _note(scores - before, wanted - before)
                expect(scores, wanted, "score[query][key]", note=note, axes="query key")
    for head_dim in SIZES:
        rows, keys = SIZES[head_dim]
        query, key = (torch.randint(-3, 4, (n, head_dim)).float() for n in (rows, keys))
        with given(f"{BANDS[head_dim]}; queries and keys of whole numbers from -3 to 3, drawn at random"):
            scores = _scores(module, query, key, 0)
            note = part_of_product(scores, query, key)
            expect(scores, query @ key.T, "score[query][key]", note=note, axes="query key")
            profile, most = module.profile(), rows // 16 * (keys // 8) * (head_dim // 16)
            _check_calls(profile.tensor_core_calls, most)
            note = "`place` gives addresses without conflicts: ask for 8 rows of one chunk at a time."
            expect(profile.bank_conflicts, 0, "number of bank conflicts", note=note)
    with given(f"profile of score_keys, {BANDS[head_dim]}"):
        loads = [line for line in module.profile().lines if (line.space, line.operation) == ("shared", "load")]
        return sum(line.requests for line in loads)


def _scores(module, query: torch.Tensor, key: torch.Tensor, before: int) -> torch.Tensor:
    scores = torch.full((len(query), len(key)), float(before))
    module.score_keys_alone(query.half(), key.half(), scores, query.shape[1])
    return scores


def _note(products: torch.Tensor, wanted: torch.Tensor) -> str:
    """Whose product the first wrong score holds, where a product of 1 and 1 + j / 128 tells the key j."""
    for row, column in (products != wanted).nonzero().tolist()[:1]:
        value = products[row, column].item()
        if value == 0:
            return f"The product of query {row} and key {column} is missing there."
        if value == 2 * wanted[row, column]:
            return f"The product of query {row} and key {column} was added twice."
        if 1 <= value < 2:
            return f"A product with key {128 * (value - 1):.0f} came there."
    return ""


def _check_calls(calls: int, needed: int) -> None:
    """A call multiplies 16 rows by 8 keys in 16 columns."""
    if calls != needed:
        headline = "The result is right, but tensor cores did not do the work."
        headline = headline if calls < needed else "The result is right, but some products are computed for nothing."
        note = "One mma for each 16 rows, 8 keys and 16 columns."
        raise Mismatch("mma", f"{calls} mma of a warp", f"{needed} mma", "", note, headline)
