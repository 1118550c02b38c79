from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from yaie.course.expect import Mismatch, expect, given
from yaie.course.language import engine_seam

LAUNCHERS = Path(__file__).with_suffix(".cu")
PIECE, PIECES = 4, 4  # floats in 16 bytes; pieces that a lane has of a tile
LAYOUTS = {32: (8, 1), 128: (32, 1), 256: (32, 2)}  # largest head_dim: lanes of a team, pieces of a key for each lane


def check() -> None:
    module = engine_seam.module("paged_attention/paged_decode_3_grouped.cu", more=LAUNCHERS)
    for max_dim, head_dim in ((32, 32), (32, 24), (32, 4), (128, 128), (128, 40), (256, 256), (256, 132), (256, 136)):
        rows, starts, wanted = _tile(max_dim, head_dim)
        lanes = LAYOUTS[max_dim][0]
        with given(f"float, L for up to {max_dim} elements ({lanes} lanes in a team), head_dim {head_dim}"):
            pieces = torch.zeros(64, PIECES, PIECE)
            module.load_pieces_alone(rows, starts, head_dim, max_dim, pieces)
            what = "raw[i] of each lane of two warps, where -1 was never set"
            expect(pieces, wanted, what, axes="thread piece element")
    with given("profile of load_pieces, float, L for up to 128 elements, head_dim 128"):
        rows, starts, _ = _tile(128, 128)
        _expect_wide_loads(module.profile("load_pieces_alone", rows, starts, 128, 128, torch.zeros(64, 4, 4)))


def _tile(max_dim: int, head_dim: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Keys in any order, the last of which ends where the memory does; and what each lane must get of them."""
    lanes, chunks = LAYOUTS[max_dim]
    teams, rounds = 32 // lanes, PIECES // chunks
    num_keys = 2 * teams * rounds
    rows = torch.arange(float(num_keys * head_dim))
    starts = torch.randperm(num_keys, generator=torch.Generator().manual_seed(head_dim)) * head_dim
    wanted = torch.full((64, rounds, chunks, PIECE), -1.0)
    for thread in range(64):
        warp, team, member = thread // 32, thread % 32 // lanes, thread % lanes
        for round in range(rounds):
            key = rows[starts[(warp * rounds + round) * teams + team] :][:head_dim]
            for chunk in range(chunks):
                piece = key[(member + chunk * lanes) * PIECE :][:PIECE]
                wanted[thread, round, chunk, : len(piece)] = piece
    return rows, starts, wanted.reshape(64, PIECES, PIECE)


def _expect_wide_loads(profile: Any) -> None:
    loads = [
        line
        for line in profile.lines
        if (line.space, line.operation) == ("global", "load") and Path(line.file).name != LAUNCHERS.name
    ]
    requests = sum(line.requests for line in loads)
    if requests > 2 * PIECES:
        headline = "The result is right, but it takes too many loads."
        note = "A load of 16 bytes for each lane is the widest there is: read a piece as one `uint4`."
        got = f"{requests / 2:g} loads of a warp, of {min(line.bytes_per_lane for line in loads)} bytes a lane"
        raise Mismatch("loads", got, f"{PIECES} loads of a warp, of 16 bytes a lane", "", note, headline)
