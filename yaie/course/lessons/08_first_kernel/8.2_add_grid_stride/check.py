from __future__ import annotations

from yaie.course.expect import expect, expect_lanes, expect_sectors, expect_share, given
from yaie.course.language import engine_seam

from ..common import FILE, expect_sums, make_numbers


def check() -> None:
    module = engine_seam.module(FILE)
    for n, blocks in ((300, 1), (5, 1), (5, 3), (1100, 2), (1024, 2), (1025, 4)):
        a, b, c = make_numbers(n)
        with given(f"vector_add_grid_stride(a, b, c, {n}, {blocks}) with a = [0, 1, 2, ...], b = [1000, 2000, ...]"):
            module.vector_add_grid_stride(a, b, c, n, blocks)
            expect_sums(a, b, c)
    with given("profile of vector_add_grid_stride, n = 1024, 2 blocks"):
        profile = module.profile("vector_add_grid_stride", *make_numbers(1024), 1024, 2)
        expect_sectors(profile, 4, note="Thread t takes t, t + T, t + 2 T, ..., so that neighbours touch neighbours.")
        note = "Each element belongs to one thread of the grid, and every thread has some."
        expect_lanes(profile, 1024, note=note)
        expect_share(profile, 2, note=note)
        stores = [step for step in profile.trace if step.operation == "store"]
        expect(sorted(step.elements[0] for step in stores), [0, 512], "elements of thread 0 of the 512 in the grid")
