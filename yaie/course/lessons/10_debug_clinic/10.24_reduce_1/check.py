from __future__ import annotations

from yaie.course.expect import expect, given

from ..common import total


def check() -> None:
    for n in (1, 2, 33, 257, 1000):
        with given(f"the sum of 1, 2, ..., {n}"):
            expect(total("reduce_1_atomics", n), n * (n + 1) / 2, "sum")
