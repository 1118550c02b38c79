from __future__ import annotations

import math

from yaie.course.expect import expect, given

from ..common import embedded


def check() -> None:
    for ids, width in (([2], 1), ([-1], 1), ([3, 0], 1), ([4, 3, -4, 0], 1), ([-1, 1, 2], 300)):
        with given(f"token ids {ids}, a table of 4 rows 10, 11, 12, 13, each number {width} times"):
            rows = [10.0 + id if 0 <= id < 4 else math.nan for id in ids]
            got = embedded(ids, width)
            expect(got, [row for row in rows for _ in range(width)], "rows", note=_note(got[::width], ids))


def _note(got: list[float], ids: list[int]) -> str:
    """What stands in the first row that should be NaN and is not."""
    for id, number in zip(ids, got, strict=True):
        if not 0 <= id < 4 and not math.isnan(number):
            place = f"Row {number - 10:.0f} of the table" if number in (10, 11, 12, 13) else "Nothing"
            return f"{place} was stored for id {id}, which has no row: its numbers are NaN."
    return ""
