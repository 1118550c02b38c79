from __future__ import annotations

from pathlib import Path

import torch

from yaie.course.differences import pattern
from yaie.course.expect import Mismatch, expect, expect_lanes, expect_sectors, given

from ..common import TILES, attend, module

LAUNCHERS = Path(__file__).with_suffix(".cu")
KEYS = 32
NEIGHBOURS = "Neighbouring threads should take neighbouring columns of a row."
SHARED_OUT = "Each number of the tile belongs to one thread; the threads of the block share them out."
CASES = (
    # head_dim, stride, first, count, tile_stride
    (4, 4, 0, 32, 4),
    (4, 4, 0, 3, 4),
    (4, 8, 0, 32, 5),
    (4, 8, 32, 33, 5),
    (4, 4, 32, 70, 4),
    (40, 48, 32, 63, 41),
    (8, 8, 64, 64, 9),
    (128, 256, 0, 33, 128),
)


def check() -> int:
    for head_dim, stride, first, count, tile_stride in CASES:
        rows = torch.arange(1.0, count * stride + 1)[: (count - 1) * stride + head_dim]
        with given(
            f"load_tile with head_dim {head_dim}, stride {stride}, first {first}, count {count}, "
            f"tile_stride {tile_stride}; rows[i] is i + 1"
        ):
            tile = _load(rows, stride, 0, first, count, head_dim, tile_stride)
            wanted = torch.zeros(KEYS, head_dim)
            there = max(0, min(KEYS, count - first))
            wanted[:there] = rows.as_strided((there, head_dim), (stride, 1), first * stride)
            _expect_set(tile)
            wrong = (tile != wanted).any(1).nonzero().flatten().tolist()
            beyond = f"The last row is {count - 1}. Row {there} of the tile would be row {first + there}: zeros."
            expect(tile, wanted, "tile[row][column]", note=beyond if wrong and wrong[0] >= there else "")
    first, stride = 70_000, 65_536
    rows = torch.arange(1.0, 3 * 65_536)[: 2 * stride + 4]
    with given(f"load_tile with head_dim 4, stride {stride}, first {first}, count {first + 3}, tile_stride 4"):
        tile = _load(rows, stride, first, first, first + 3, 4, 4)
        expect(tile[:3], rows.as_strided((3, 4), (stride, 1)), "tile[row][column]")
    value = torch.arange(5 * 2 * 8, dtype=torch.float32).reshape(5, 2, 8)
    with given("flash attention, two heads, sequences of 2 and 3 tokens, queries and keys of zeros, values 0, 1, ..."):
        zeros = torch.zeros_like(value)
        out = attend(TILES, zeros, zeros, value, lengths=[(2, 2), (3, 3)], more=LAUNCHERS)
        means = [part.mean(0, keepdim=True).expand_as(part) for part in value.split([2, 3])]
        expect(out, torch.cat(means), "output (the mean of the sequence's values)", tolerance=1e-4)
    with given("profile of load_tile, 32 rows of 32 columns"):
        _load(torch.zeros(KEYS * 32), 32, 0, 0, KEYS, 32, 33)
        profile = module(TILES, LAUNCHERS).profile()
        expect_sectors(profile, 4, note=NEIGHBOURS)
        expect_lanes(profile, KEYS * 32, operation="load", note=SHARED_OUT)
    with given("profile of load_tile, 32 rows of 40 columns"):
        _load(torch.zeros(KEYS * 40), 40, 0, 0, KEYS, 40, 40)
        lines = module(TILES, LAUNCHERS).profile().lines
        return sum(line.requests for line in lines if Path(line.file).name != LAUNCHERS.name)


def _expect_set(tile: torch.Tensor) -> None:
    for row, column in (tile == -1).nonzero().tolist()[:1]:
        raise Mismatch(
            "tile",
            f"nothing in row {row}, column {column}",
            "a number",
            headline="A number of the tile was never set.",
            pattern=pattern(tile.where(tile == -1, 0), torch.zeros_like(tile), axes="row column"),
        )


def _load(
    rows: torch.Tensor, stride: int, missing: int, first: int, count: int, head_dim: int, tile_stride: int
) -> torch.Tensor:
    """The tile `[32, head_dim]`. `rows` has no place for the first `missing` rows."""
    tile = torch.zeros(KEYS, tile_stride)
    module(TILES, LAUNCHERS).load_tile_alone(rows, stride, missing, first, count, head_dim, tile, tile_stride)
    return tile[:, :head_dim].clone()
