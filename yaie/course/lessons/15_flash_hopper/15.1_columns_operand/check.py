from __future__ import annotations

import torch

from yaie.course.expect import expect, given

from ..common import draws, launchers

TILES = {(64, 128): (0,), (128, 128): (0, 64, 8), (176, 64): (0, 64, 112)}  # (rows, head_dim): first rows to try


def check() -> None:
    module = launchers("flash_attention_5_wgmma", __file__)  # its name here: no other file is compiled for this check
    for (rows, head_dim), firsts in TILES.items():
        numbered = {
            "the number of its row": torch.arange(rows)[:, None].expand(rows, head_dim),
            "the number of its column": torch.arange(head_dim).expand(rows, head_dim),
            "a number of its own": draws(rows, head_dim),
        }
        for holds, tile in numbered.items():
            tile = tile.half().contiguous()
            for first_row in firsts:
                for step in range(head_dim // 16):
                    with given(
                        f"ROWS = {rows}, head_dim {head_dim}, each element is {holds}: "
                        f"columns_operand(tile, {first_row}, {step})"
                    ):
                        out = torch.zeros(64, 16)
                        module.operand_alone(tile, out, rows, head_dim, first_row, step)
                        wanted = tile[first_row : first_row + 64, 16 * step : 16 * step + 16].float()
                        expect(out, wanted, "the 64 x 16 elements of the operand")
