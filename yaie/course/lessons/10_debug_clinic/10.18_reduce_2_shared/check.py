from __future__ import annotations

from yaie.course.expect import expect, given

from ..common import totals


def check() -> None:
    for counts in ([3], [3, 3], [300, 5, 1], [1000, 1000], [0]):
        with given(f"the sums of 1, 2, ..., n for the n of {counts}, in turn into the same tensor"):
            expect(totals(counts), [n * (n + 1) / 2 for n in counts], "sums")
    with given("the sum of 1, 2, 3 into a tensor that holds NaN"):
        expect(totals([3], start=float("nan")), [6.0], "sums")
