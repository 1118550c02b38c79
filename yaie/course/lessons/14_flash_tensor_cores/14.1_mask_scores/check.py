from __future__ import annotations

import math

import torch

from yaie.course.expect import expect, given

from ..common import launchers

CASES = (
    # BANDS, queries, keys, causal, first_row, first_key
    (2, 2, 3, False, 0, 0),
    (2, 64, 64, True, 0, 0),
    (2, 128, 128, True, 64, 64),
    (2, 40, 100, True, 0, 64),
    (2, 300, 20, True, 256, 0),
    (1, 100, 100, True, 64, 64),
)


def check() -> None:
    launch = launchers(__file__).mask_scores_alone
    for bands, q_len, kv_len, causal, first_row, first_key in CASES:
        rows, keys = 2 * 16 * bands, 32 * bands
        scores = torch.arange(1.0, rows * keys + 1).reshape(rows, keys)
        row, key = torch.arange(rows)[:, None] + first_row, torch.arange(keys)[None] + first_key
        seen = (row + 1 + kv_len - q_len).clamp(max=kv_len) if causal else torch.tensor(kv_len)
        wanted = scores.masked_fill(key >= seen, -math.inf)
        kind = "causal" if causal else "no mask"
        with given(
            f"{q_len} queries and {kv_len} keys, {kind}; BANDS {bands}, BLOCKS {4 * bands}; first_row {first_row}, for "
            f"warp 1 {first_row + rows // 2}; first_key {first_key}; scores 1, 2, 3, ..."
        ):
            launch(scores, bands, q_len, kv_len, int(causal), first_row, first_key)
            what = "score[row][key], from first_row and first_key on"
            expect(scores, wanted, what, note=_note(scores, wanted), axes="row key")


def _note(scores: torch.Tensor, wanted: torch.Tensor) -> str:
    """What happened to the first wrong score, and which lane has it."""
    for row, key in (scores != wanted).nonzero().tolist()[:1]:
        got, right = scores[row, key].item(), wanted[row, key].item()
        done = "was hidden" if got == -math.inf else "was changed" if right != -math.inf else "is not -inf"
        lane, i = row % 8 * 4 + key % 8 // 2, row % 16 // 8 * 2 + key % 2
        whose = "Warp 0 has its scores right, warp 1 has not. " if 2 * row >= len(scores) else ""
        return (
            f"{whose}Element {i} of lane {lane} in block {key // 8} {done}: it is row {row} and key {key} from there."
        )
    return ""
