from __future__ import annotations

from .. import clinic
from ..common import are_ints, expose, total, valid


def check() -> None:
    n = clinic.numbers_to_add()
    valid(are_ints([n], 1, 4096), n, "an int from 1 to 4096")
    expose("10.18", "reduce_2_kernel", f"numbers_to_add() == {n}", lambda: total("reduce_2_shared", n))
