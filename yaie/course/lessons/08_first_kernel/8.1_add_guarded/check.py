from __future__ import annotations

from yaie.course.expect import expect, given
from yaie.course.language import engine_seam

from ..common import FILE, make_numbers


def check() -> None:
    module = engine_seam.module(FILE)
    for n in (5, 1, 256, 257, 1000):
        a, b, c = make_numbers(n)
        with given(f"vector_add(a, b, c, {n}) with a = [0, 1, 2, ...], b = [1000, 2000, 3000, ...]"):
            module.vector_add(a, b, c, n)
            expect(c, a + b, "result c")
