from __future__ import annotations

from .. import clinic
from ..common import are_ints, expose, gathered, valid


def check() -> None:
    table = clinic.block_table()
    ok = isinstance(table, list | tuple) and 1 <= len(table) <= 8 and are_ints(table, 0, 7)
    valid(ok and len(set(table)) == len(table), table, "1 to 8 different block ids from 0 to 7")
    expose("10.8", "gather_pages_kernel", f"block_table() == {table}", lambda: gathered(list(table)))
