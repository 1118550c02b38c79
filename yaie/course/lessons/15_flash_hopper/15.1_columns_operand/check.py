from __future__ import annotations

import torch

from yaie.course.expect import expect, given

from ..common import draws, launchers

TILES = {(64, 128): (0,), (128, 128): (0, 64, 8), (176, 64): (0, 64, 112)}  # (rows, head_dim): first rows to try
SWIZZLES = ("SWIZZLE_NONE", "SWIZZLE_128B", "SWIZZLE_64B", "SWIZZLE_32B")  # by what the bits say


def check() -> None:
    module = launchers("flash_attention_5_wgmma", __file__)  # its name here: no other file is compiled for this check
    for (rows, head_dim), firsts in TILES.items():
        steps = range(head_dim // 16)
        fields = torch.zeros(len(firsts), len(steps), 4, dtype=torch.int32)  # address - tile, leading, stride, swizzle
        module.descriptors(fields, torch.tensor(firsts, dtype=torch.int32), rows, head_dim, *fields.shape[:2])
        numbered = {
            "the number of its row": torch.arange(rows)[:, None].expand(rows, head_dim),
            "the number of its column": torch.arange(head_dim).expand(rows, head_dim),
            "a number of its own": draws(rows, head_dim),
        }
        for i, first_row in enumerate(firsts):
            for step in steps:
                address, leading, stride, swizzle = fields[i, step].tolist()
                exchanged = (
                    "The leading offset and the stride are exchanged." if (leading, stride) == (1024, 16) else ""
                )
                note = _says(fields[..., 0], firsts, rows)
                with given(f"ROWS = {rows}, head_dim {head_dim}: columns_operand(tile, {first_row}, {step})"):
                    wanted = f"tile + {step // 4 * rows * 128 + first_row * 128 + step % 4 * 32:,}"
                    expect(f"tile + {address:,}", wanted, "address of the descriptor", note=note)
                    rule = "From 8 rows to the next 8 are 8 rows of 128 bytes."
                    expect(f"{stride} bytes", "1024 bytes", "stride of the descriptor", note=exchanged or rule)
                    expect(SWIZZLES[swizzle], "SWIZZLE_128B", "swizzle of the descriptor")
                for holds, tile in numbered.items():
                    tile = tile.half().contiguous()
                    with given(
                        f"ROWS = {rows}, head_dim {head_dim}, each element is {holds}: "
                        f"columns_operand(tile, {first_row}, {step})"
                    ):
                        out = torch.zeros(64, 16)
                        module.operand_alone(tile, out, rows, head_dim, first_row, step)
                        wanted = tile[first_row : first_row + 64, 16 * step : 16 * step + 16].float()
                        expect(out, wanted, "elements of the operand, 64 x 16")


def _says(address: torch.Tensor, firsts: tuple[int, ...], rows: int) -> str:
    """How far the address moves with each argument, where that is wrong."""
    said = []
    by_step = set((address[:, 1:4] - address[:, :3]).flatten().tolist())
    if by_step != {32}:
        moved = f"{by_step.pop():,}" if len(by_step) == 1 else "not always the same number of"
        said.append(f"A step moves the address by {moved} bytes; 16 columns have 32.")
    if address.shape[1] > 4 and (moved := int(address[0, 4] - address[0, 0])) != rows * 128:
        said.append(
            f"From step 0 to step 4, the first of the next part, it moves by {moved:,}; a part has {rows * 128:,}."
        )
    for i, first in enumerate(firsts):
        if (moved := int(address[i, 0] - address[0, 0])) != first * 128:
            said.append(f"From row 0 to row {first} it moves by {moved:,}; these rows have {first * 128:,}.")
            break
    if not said and int(address[0, 0]) != 0:
        said.append(f"It moves by the right distances, but begins {int(address[0, 0]):,} bytes behind `tile`.")
    return " ".join(said)
