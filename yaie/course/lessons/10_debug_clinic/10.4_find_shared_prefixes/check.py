from __future__ import annotations

from yaie.course.expect import expect, given

from ..common import shared


def check() -> None:
    for stored, asked, length in (
        ([1, 9], [1, 2], 1),
        ([1, 2], [1, 2], 2),
        ([1, 2, 3], [1, 2], 2),
        ([5], [1, 2], 0),
        ([1, 2, 3, 4], [1, 2, 3, 7, 8], 3),
    ):
        with given(f"a tree that holds {stored}; find_shared_prefixes({asked})"):
            expect(shared(stored, asked), (["a"] if length else [], length), "ids and length")
