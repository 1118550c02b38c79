from __future__ import annotations

from yaie.course.expect import Mismatch, first_difference, given

from .. import clinic
from ..common import are_ints, expose, outcomes, total, valid


def check() -> None:
    n = clinic.fewest_that_race()
    valid(are_ints([n], 1, 4096), n, "an int from 1 to 4096")
    expose("10.24", "reduce_1_kernel", f"fewest_that_race() == {n}", lambda: total("reduce_1_atomics", n))
    with given(f"one number less, {n - 1}"):
        right, broken = outcomes("10.24", lambda: total("reduce_1_atomics", n - 1))
        if first_difference(broken, right) is not None:
            note = "Which two threads race, and have they to be in different thread blocks?"
            raise Mismatch("input", f"a race with {n - 1} numbers as well", "the smallest number that races", "", note)
