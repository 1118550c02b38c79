from __future__ import annotations

from pathlib import Path

import torch

from yaie.course.expect import expect, given

from ..common import REGISTERS, module

LAUNCHERS = Path(__file__).with_suffix(".cu")

CASES = (
    # queries, keys, whether causal, first row of the block, tile; seen_by_all, to_visit
    (64, 64, True, 0, 64, 0, 1),
    (128, 128, True, 0, 64, 0, 1),
    (128, 128, True, 64, 64, 1, 2),
    (64, 100, True, 0, 64, 0, 2),
    (64, 65, True, 0, 64, 0, 2),
    (64, 126, True, 0, 64, 0, 2),
    (64, 127, True, 0, 64, 1, 2),
    (300, 300, True, 192, 64, 3, 4),
    (2, 300, True, 0, 64, 4, 5),
    (70, 5, True, 0, 64, 0, 0),
    (70, 5, True, 64, 64, 0, 1),
    (10, 70, False, 0, 64, 1, 2),
    (70, 128, False, 64, 64, 2, 2),
    (64, 100, True, 32, 32, 2, 4),
)


def check() -> None:
    launch = module(REGISTERS, LAUNCHERS).tiles_that_matter_alone
    for q_len, kv_len, causal, first_row, tile, seen_by_all, to_visit in CASES:
        told = torch.full((2,), -1, dtype=torch.int32)
        kind, rows = "causal" if causal else "no mask", f"rows {first_row} to {first_row + tile - 1}"
        with given(f"{q_len} queries and {kv_len} keys, {kind}; {rows}, tiles of {tile} keys"):
            launch(q_len, kv_len, int(causal), first_row, tile, told)
            seen, visited = told.clamp(min=0).tolist()  # below 0 is none, too
            left_out = "A row sees keys of a tile that is left out."
            expect(visited, to_visit, "to_visit", note=left_out if visited < to_visit else "No row sees the last tile.")
            leak = "A row would see keys that are hidden from it: a tile that it sees in part has no mask."
            expect(
                seen,
                seen_by_all,
                "seen_by_all",
                note=leak if seen > seen_by_all else "A tile that all rows see needs no mask.",
            )
