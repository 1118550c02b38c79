from __future__ import annotations

from yaie.course.expect import expect, given
from yaie.kernels import kv_cache

from ..common import books, expect_books, expect_refusal, give, make

ALLOCATE_CASES: tuple[tuple[int, list[int], int, list[int]], ...] = (
    # block size, blocks of request P (all full), number of tokens of the new request, blocks of P that it shares
    (4, [], 1, []),
    (4, [], 5, []),
    (4, [], 8, []),
    (1, [], 3, []),
    (4, [3], 4, [3]),
    (4, [3, 1], 9, [3, 1]),
    (4, [3, 1], 9, [3]),
    (16, [2], 33, [2]),
)


def check() -> None:
    for block_size, parent, num_tokens, prefix in ALLOCATE_CASES:
        manager = make(num_blocks=6, block_size=block_size)
        if parent:
            give(manager, "P", parent, len(parent) * block_size)
        shares = f', prefix_blocks={prefix}) while "P" holds {parent}' if prefix else ")"
        with given(f'allocate_blocks("A", {num_tokens}{shares}, block_size={block_size}'):
            before = books(manager)
            free = list(manager.free_block_list)
            count = len(range(0, num_tokens, block_size)) - len(prefix)
            table = [*prefix, *free[len(free) - count :][::-1]]
            got = (
                manager.allocate_blocks("A", num_tokens, prefix) if prefix else manager.allocate_blocks("A", num_tokens)
            )
            expect(got, table, "list of block ids (the result)")
            tables = before["block_tables"]
            expected = {
                "block_tables": {**tables, "A": table},
                "context_lens": {**before["context_lens"], "A": num_tokens},
                "free_block_list": free[: len(free) - count],
                "ref_counts": [parent.count(block_id) + table.count(block_id) for block_id in range(6)],
            }
            expect_books(manager, expected, "afterwards")
            got.append(99)
            expect(manager.block_tables["A"], table, 'block_tables["A"] after the caller changed its own list')
    for num_tokens, prefix, error, what in (
        (25, [], kv_cache.OutOfBlocksError, "answer to more tokens than there is room for"),
        (25, [3, 1], kv_cache.OutOfBlocksError, "answer to more tokens than there is room for"),
        (0, [], ValueError, "answer to a request of no tokens"),
        (-4, [], ValueError, "answer to a negative number of tokens"),
        (9, [0], ValueError, "answer to a prefix block that is free"),
    ):
        manager = make(num_blocks=6, block_size=4)
        give(manager, "P", [3, 1], 8)
        shares = f", prefix_blocks={prefix}" if prefix else ""
        with given(f'allocate_blocks("A", {num_tokens}{shares}) in a pool of 6 blocks, of which "P" holds [3, 1]'):
            expect_refusal(manager, lambda: manager.allocate_blocks("A", num_tokens, prefix), error, what)  # noqa: B023
    manager = make(num_blocks=6, block_size=4)
    give(manager, "A", [3, 1], 8)
    with given('allocate_blocks("A", 3), while "A" holds the blocks [3, 1]'):
        call = lambda: manager.allocate_blocks("A", 3)  # noqa: E731
        expect_refusal(manager, call, ValueError, "answer to a request that has blocks already")
