from __future__ import annotations

from yaie.course.expect import expect, expect_error, given
from yaie.kernels import kv_cache

from ..common import books, expect_books, make


def check() -> None:
    for free, count in (([0], 1), ([5, 9, 2], 2), ([2, 1, 0], 3), ([3, 1], 0), (list(range(16)), 7)):
        manager = make(num_blocks=16, block_size=4)
        manager.free_block_list[:] = free
        stack = manager.free_block_list
        with given(f'free_block_list = {free}; _take_blocks("A", {count})'):
            taken = manager._take_blocks("A", count)
            expect(taken, free[len(free) - count :][::-1], "list of block ids (the result)")
            expect(manager.free_block_list, free[: len(free) - count], "free_block_list afterwards")
            expect(manager.free_block_list is stack, True, "`free_block_list` is the same list object, shorter")
            counts = [int(block_id in taken) for block_id in range(16)]
            expect(manager.ref_counts, counts, "ref_counts afterwards (1 for each block taken)")
    for free, count in (([4, 6], 3), ([], 1)):
        manager = make(num_blocks=8, block_size=4)
        manager.free_block_list[:] = free
        before = books(manager)
        with given(f'free_block_list = {free}; _take_blocks("A", {count})'):
            expect_error(
                lambda: manager._take_blocks("A", count),  # noqa: B023
                kv_cache.OutOfBlocksError,
                "answer when too few blocks are free",
            )
            expect_books(manager, before, "after the error (as before)")
