from __future__ import annotations

from yaie.course.expect import expect, expect_error, given
from yaie.kernels import kv_cache

from ..common import books, expect_books, make


class _Stack(list):
    """A list that counts the entries that are copied or moved out of their place."""

    moved = 0

    def __getitem__(self, key):
        self.moved += len(range(*key.indices(len(self)))) if isinstance(key, slice) else 0
        return super().__getitem__(key)

    def __setitem__(self, key, value):
        self.moved += len(self) if isinstance(key, slice) else 0
        super().__setitem__(key, value)

    def __delitem__(self, key):
        start, stop, _ = key.indices(len(self)) if isinstance(key, slice) else (key % len(self), key % len(self) + 1, 1)
        self.moved += len(self) - max(start, stop)
        super().__delitem__(key)

    def __iter__(self):
        self.moved += len(self)
        return super().__iter__()

    def __contains__(self, value):
        self.moved += len(self)
        return super().__contains__(value)

    def copy(self):
        return self[:]

    def pop(self, index=-1):
        self.moved += len(self) - 1 - index if index >= 0 else -1 - index
        return super().pop(index)

    def remove(self, value):
        self.moved += len(self)
        super().remove(value)

    def reverse(self):
        self.moved += len(self)
        super().reverse()


def check() -> None:
    for free, count in (([0], 1), ([5, 9, 2], 2), ([2, 1, 0], 3), ([3, 1], 0), (list(range(16)), 7)):
        manager = make(num_blocks=16, block_size=4)
        manager.free_block_list = stack = _Stack(free)
        before = books(manager)
        with given(f'free_block_list = {free}; _take_blocks("A", {count})'):
            taken = manager._take_blocks("A", count)
            expect(type(taken), list, "type of the result")
            expect(taken, free[len(free) - count :][::-1], "list of block ids (the result)")
            counts = [int(block_id in taken) for block_id in range(16)]
            expected = before | {"free_block_list": free[: len(free) - count], "ref_counts": counts}
            expect_books(manager, expected, "afterwards")
            same = "the same list" if manager.free_block_list is stack else "another list"
            expect(same, "the same list", "list `self.free_block_list` afterwards")
    manager = make(num_blocks=1000, block_size=1)
    manager.free_block_list = stack = _Stack(range(1000))
    with given('free_block_list = list(range(1000)); _take_blocks("A", 3)'):
        expect(manager._take_blocks("A", 3), [999, 998, 997], "list of block ids (the result)")
        enough = f"{stack.moved} of 1,000" if stack.moved > 3 else "at most 3 of 1,000"
        expect(
            enough, "at most 3 of 1,000", "number of entries of `free_block_list` that were copied, moved or looked at"
        )
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
