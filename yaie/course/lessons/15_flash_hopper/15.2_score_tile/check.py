from __future__ import annotations

import torch

from yaie.course.expect import expect, given

from ..common import WGMMA, draws, expect_attention, launchers

KEYS, HEAD_DIM = 128, 64


def check() -> None:
    module = launchers(WGMMA, __file__)
    queries = draws(64, HEAD_DIM)
    for uses, first in ((1, 0), (2, 0), (3, 0), (4, 0), (8, 0), (5, 2)):
        keys = draws(uses * KEYS, HEAD_DIM) + torch.arange(uses).repeat_interleave(KEYS)[:, None]
        what = f"{uses} tiles of keys through a ring of 3 slots" + (f", which begins with use {first}" if first else "")
        with given(f"{what}; keys of tile i are random + i"):
            scores = torch.zeros(uses, 64, KEYS)
            module.score_tiles_alone(queries.half(), keys.half(), scores, uses, first)
            expect(scores, (queries @ keys.T).view(64, uses, KEYS).transpose(0, 1), "scores[tile][row][key]")
    expect_attention(__file__, WGMMA, 20, 70, HEAD_DIM)
