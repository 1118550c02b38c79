from __future__ import annotations

from .. import clinic
from ..common import are_ints, expose, transposed, valid


def check() -> int:
    shape = clinic.rows_and_columns()
    ok = isinstance(shape, list | tuple) and len(shape) == 2 and are_ints(shape, 1, 70)
    valid(ok, shape, "a tuple (rows, columns), each an int from 1 to 70")
    expose("10.10", "grid_of", f"rows_and_columns() == {tuple(shape)}", lambda: transposed(*shape))
    return shape[0] * shape[1]
