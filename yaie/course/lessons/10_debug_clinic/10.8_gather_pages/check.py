from __future__ import annotations

from yaie.course.expect import expect, given

from ..common import gathered


def check() -> None:
    for table in ([3], [2, 0], [5, 1, 7], [6, 7, 0, 3]):
        with given(f"block table {table}, pages of 2 tokens, block b holds [2 b, 2 b + 1]"):
            wanted = [float(2 * block + row) for block in table for row in range(2)]
            expect(gathered(table).tolist(), wanted, "collected tokens")
