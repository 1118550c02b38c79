from __future__ import annotations

import torch

from yaie.course.expect import expect, given

from ..common import WGMMA, draws, expect_attention, launchers

KEYS, HEAD_DIM, SLOTS = 128, 64, 3


def check() -> None:
    module = launchers(WGMMA, __file__)
    queries = draws(64, HEAD_DIM)
    for uses, first in ((1, 0), (2, 0), (3, 0), (4, 0), (8, 0), (5, 2)):
        keys = draws(uses * KEYS, HEAD_DIM).flip(0) + torch.arange(uses).repeat_interleave(KEYS)[:, None]
        what = f"{uses} tiles of keys through a ring of 3 slots" + (f", which begins with use {first}" if first else "")
        with given(f"{what}; keys of tile i are random + i"):
            scores = torch.zeros(uses, 64, KEYS)
            module.score_tiles_alone(queries.half(), keys.half(), scores, uses, first)
            wanted = (queries @ keys.T).view(64, uses, KEYS).transpose(0, 1)
            note = _whose(scores, wanted, first)
            expect(scores, wanted, "scores", note=note, axes="tile row key")
    expect_attention(__file__, WGMMA, 20, 70, HEAD_DIM)


def _whose(scores: torch.Tensor, wanted: torch.Tensor, first: int) -> str:
    """Which key the first column of a wrong tile is of, and so from which byte of the slots the tile was read; or that
    the operands are exchanged."""
    keys = wanted.transpose(0, 1).flatten(1)  # [row][key of all tiles]
    for i, tile in enumerate(scores):
        if not torch.equal(tile, wanted[i]) and torch.equal(tile[:, :64], wanted[i, :, :64].T):
            return "Rows and columns are exchanged: the left operand has the rows, which are queries."
        found = (keys == tile[:, :1]).all(0).nonzero().flatten().tolist()
        if not torch.equal(tile, wanted[i]) and len(found) == 1 and found[0] != i * KEYS:
            (of, key), slot = divmod(found[0], KEYS), (first + i) % SLOTS
            byte = ((first + of) % SLOTS * KEYS + key) * HEAD_DIM * 2
            at = f"key {key} of use {first + of}, which lies at byte {byte:,} of `slots`"
            begins = slot * KEYS * HEAD_DIM * 2
            return f"Key 0 of use {first + i} was taken from {at}; slot {slot} begins at byte {begins:,}."
    return ""
