from __future__ import annotations

from pathlib import Path

import torch

from yaie.course.expect import expect, given

from ..common import REGISTERS, module

ALONE = Path(__file__).with_name("alone.cu")

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
    launch = module(REGISTERS, ALONE).tiles_that_matter_alone
    for q_len, kv_len, causal, first_row, tile, seen_by_all, to_visit in CASES:
        told = torch.full((2,), -1, dtype=torch.int32)
        kind, rows = "causal" if causal else "no mask", f"rows {first_row} to {first_row + tile - 1}"
        with given(f"{q_len} queries and {kv_len} keys, {kind}; {rows}, tiles of {tile} keys"):
            launch(q_len, kv_len, int(causal), first_row, tile, told)
            expect(told[1].item(), to_visit, "to_visit")
            expect(told[0].item(), seen_by_all, "seen_by_all")
