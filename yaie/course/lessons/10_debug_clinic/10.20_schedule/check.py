from __future__ import annotations

from yaie.course.expect import expect, given

from ..common import steps_of


def check() -> None:
    for case, wanted in (
        ([(0, 3)], [{"r0": 3}, {"r0": 1}]),
        ([(0, 1), (1, 16)], [{"r0": 1}, {"r0": 1, "r1": 4}, {"r0": 1, "r1": 4}]),
        ([(0, 10), (0, 9)], [{"r0": 8}, {"r0": 2, "r1": 4}, {"r0": 1, "r1": 5}]),
    ):
        with given(f"arrivals {case} (step, tokens of the prompt), 8 tokens in a step, pages of 4"):
            expect(steps_of(case)[: len(wanted)], wanted, "work of the first steps")
