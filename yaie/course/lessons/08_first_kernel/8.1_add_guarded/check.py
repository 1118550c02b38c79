from __future__ import annotations

from yaie.course.expect import expect_lanes, expect_sectors, expect_share, given
from yaie.course.language import engine_seam

from ..common import FILE, expect_sums, make_numbers


def check() -> None:
    module = engine_seam.module(FILE)
    for n in (5, 1, 256, 257, 1000):
        a, b, c = make_numbers(n)
        with given(f"vector_add(a, b, c, {n}) with a = [0, 1, 2, ...], b = [1000, 2000, 3000, ...]"):
            module.vector_add(a, b, c, n)
            expect_sums(a, b, c)
    with given("profile of vector_add, n = 1000"):
        profile = module.profile("vector_add", *make_numbers(1000), 1000)
        expect_sectors(profile, 4, note="Thread i of the grid takes element i, so that neighbours touch neighbours.")
        expect_lanes(profile, 1000, note="One thread for each element. A thread without one touches no memory.")
        expect_share(profile, 1, note="One thread for each element.")
