from __future__ import annotations

from .. import clinic
from ..common import are_ints, expose, transposed, valid


def check() -> None:
    shape = clinic.rows_and_columns()
    ok = isinstance(shape, list | tuple) and len(shape) == 2 and are_ints(shape, 1, 70)
    valid(ok, shape, "two ints from 1 to 70")
    rows, cols = shape
    text = f"rows_and_columns() == ({rows}, {cols})"
    expose("10.10", "transpose_tile_kernel", text, lambda: transposed(rows, cols))
