from __future__ import annotations

from .. import clinic
from ..common import are_ints, expose, totals, valid


def check() -> None:
    counts = clinic.sums_in_turn()
    ok = isinstance(counts, list | tuple) and 1 <= len(counts) <= 4 and are_ints(counts, 1, 4096)
    valid(ok, counts, "1 to 4 ints from 1 to 4096")
    expose("10.18", "reduce_2_shared", f"sums_in_turn() == {list(counts)}", lambda: totals(list(counts)))
