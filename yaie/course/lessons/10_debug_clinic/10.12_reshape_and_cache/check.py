from __future__ import annotations

from yaie.course.expect import expect, given

from ..common import stored


def check() -> None:
    for slots, pool in (
        ([2], [0, 0, 1, 0]),
        ([-1], [0, 0, 0, 0]),
        ([3, 0], [2, 0, 0, 1]),
        ([1, -1, 0, -4], [3, 1, 0, 0]),
    ):
        with given(f"tokens 1, 2, ... to the slots {slots} of an empty pool"):
            expect(stored(slots).tolist(), list(map(float, pool)), "pool")
