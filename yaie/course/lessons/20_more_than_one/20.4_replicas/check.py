from __future__ import annotations

from yaie.course.expect import expect, given
from yaie.profiling import fleet

# work, seconds, busy, growth, spare; replicas. All numbers are sums of powers of two, so nothing is rounded.
CASES: tuple[tuple[list[float], float, float, float, int, int], ...] = (
    ([4], 4, 1.0, 1, 0, 1),
    ([4], 4, 0.5, 1, 0, 2),
    ([4], 8, 0.5, 1, 0, 1),
    ([3], 4, 0.5, 1, 0, 2),
    ([5], 8, 0.5, 1, 0, 2),
    ([4, 4], 8, 0.5, 1, 0, 2),
    ([4, 2], 8, 0.25, 1, 0, 4),
    ([2, 4, 0, 2], 8, 0.5, 1, 0, 4),
    ([1, 1], 8, 0.5, 1, 0, 1),
    ([4, 4], 8, 0.5, 8, 0, 16),
    ([3], 8, 0.5, 4, 0, 3),
    ([4, 4], 8, 0.5, 1, 1, 3),
    ([3, 3], 8, 0.5, 1, 2, 4),
    ([0, 0], 8, 0.5, 8, 0, 1),
    ([0, 0], 8, 0.5, 8, 2, 3),
    ([16], 8, 0.5, 1, 0, 4),
)


def check() -> None:
    for work, seconds, busy, growth, spare, wanted in CASES:
        with given(f"replicas_needed({work}, {seconds}, busy={busy}, growth={growth}, spare={spare})"):
            got = fleet.replicas_needed(work, seconds, busy, growth, spare)
            expect(got, wanted, "number of replicas")
            expect(type(got), int, "type of the result")
