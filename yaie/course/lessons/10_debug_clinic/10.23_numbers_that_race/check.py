from __future__ import annotations

from .. import clinic
from ..common import are_ints, expose, total, valid


# --- case 12: reduce_3 ------------------------------------------------------------------------------------------
def check() -> None:
    n = clinic.numbers_that_race()
    valid(are_ints([n], 1, 4096), n, "an int from 1 to 4096")
    expose("10.24", "reduce_3_kernel", f"numbers_that_race() == {n}", lambda: total("reduce_3_shuffle", n))
