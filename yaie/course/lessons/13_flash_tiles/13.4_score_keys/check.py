from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from yaie.course.differences import part_of_product
from yaie.course.expect import Mismatch, expect, expect_no_bank_conflicts, given

from ..common import REGISTERS, module

LAUNCHERS = Path(__file__).with_suffix(".cu")
SIDE, THREADS = 16, 256
ONCE = "What a thread has read once stays in its registers for all R products."
WIDE = "Read four neighbours as one `float4`."


def check() -> None:
    launchers = module(REGISTERS, LAUNCHERS)
    for r, head_dim, stride in ((2, 4, 4), (2, 4, 8), (4, 4, 8), (4, 8, 12), (2, 40, 44), (4, 64, 68)):
        generator = torch.Generator().manual_seed(head_dim)
        queries, keys = (torch.randint(-3, 4, (SIDE * r, stride), generator=generator).float() for _ in range(2))
        scores = torch.zeros(SIDE * r, SIDE * r)
        with given(f"score_keys of tiles of {SIDE * r} rows (R = {r}), head_dim {head_dim}, stride {stride}"):
            profile = launchers.profile(f"score_keys_{r}", queries, keys, stride, head_dim, scores)
            wanted = queries[:, :head_dim] @ keys[:, :head_dim].T
            note = _note(scores, queries[:, :head_dim], keys[:, :head_dim], r)
            expect(scores, wanted, "scores: row r of the tile and key k at [r][k]", note=note, axes="row key")
    with given(f"profile of score_keys, R = {r}, head_dim {head_dim}, stride {stride}"):
        _expect_few_reads(profile, r, head_dim)
        expect_no_bank_conflicts(profile, note="Neighbouring lanes read neighbouring keys: tx, tx + 1, ...")


def _note(scores: torch.Tensor, queries: torch.Tensor, keys: torch.Tensor, r: int) -> str:
    """What came out instead, where it is one of these."""
    wanted = queries @ keys.T
    off = scores - wanted
    if off.any() and ((off == 0) | (off == 1000)).all():
        return "1000 stood in `scores` before, and was added: set all of them to 0 first."
    exchanged = queries.view(SIDE, r, -1)[:, :, None, None] * keys.view(r, SIDE, -1)[None, None]
    exchanged = exchanged.sum(-1).permute(3, 1, 2, 0).reshape(wanted.shape)
    if torch.equal(scores, exchanged):
        return "tx and ty are swapped: tx = threadIdx.x % SIDE says which keys, ty which rows."
    return part_of_product(scores, queries, keys)


def _expect_few_reads(profile: Any, r: int, head_dim: int) -> None:
    loads = [line for line in profile.lines if (line.space, line.operation) == ("shared", "load")]
    read, needed = sum(line.bytes for line in loads) // THREADS, 2 * r * head_dim * 4
    if read > needed:
        headline = "The scores are right, but numbers are read from shared memory more than once."
        got = f"{read:,} bytes of shared memory read by each thread"
        raise Mismatch("bytes", got, f"{needed:,} bytes", "", ONCE, headline)
    narrow = min(loads, key=lambda line: line.bytes_per_lane, default=None)
    if narrow and narrow.bytes_per_lane < 16:
        headline = "The scores are right, but they take four times as many reads as they need."
        got = f"{narrow.bytes_per_lane} bytes a read (line {narrow.line})"
        raise Mismatch("reads", got, "16 bytes a read", "", WIDE, headline)
