from __future__ import annotations

from yaie.course.expect import expect, given

from ..common import total


def check() -> None:
    for n in (1, 2, 33, 257, 1000):
        with given(f"the sum of 1, 2, ..., {n}"):
            sum, wanted = total("reduce_1_atomics", n), n * (n + 1) / 2
            times = sum / wanted
            note = f"That is {times:.0f} times the sum. A block has 256 threads."
            expect(sum, wanted, "sum", note=note if times > 1 and times % 1 == 0 else "")
