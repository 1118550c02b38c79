from __future__ import annotations

from .. import clinic
from ..common import are_ints, copied_block, expose, valid


def check() -> None:
    n = clinic.floats_per_block()
    valid(are_ints([n], 1, 4096), n, "an int from 1 to 4096")
    expose("10.2", "copy_blocks_kernel", f"floats_per_block() == {n}", lambda: copied_block(n)[-8:])
