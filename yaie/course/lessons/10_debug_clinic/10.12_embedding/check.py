from __future__ import annotations

import math

from yaie.course.expect import expect, given

from ..common import embedded


def check() -> None:
    for ids, width in (([2], 1), ([-1], 1), ([3, 0], 1), ([4, 3, -4, 0], 1), ([-1, 1, 2], 300)):
        with given(f"token ids {ids}, a table of 4 rows 10, 11, 12, 13, each number {width} times"):
            rows = [10.0 + id if 0 <= id < 4 else math.nan for id in ids]
            expect(embedded(ids, width), [row for row in rows for _ in range(width)], "rows")
