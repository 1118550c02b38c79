from __future__ import annotations

from yaie.course.expect import expect, given
from yaie.kernels import kv_cache

from ..common import Pool, books, expect_books, expect_refusal, give, make

ALLOCATE_CASES: tuple[tuple[int, list[int], str, int, list[int]], ...] = (
    # block size, blocks that others have (all full), those others, tokens of the new request, blocks that it shares
    (4, [], "", 1, []),
    (4, [], "", 5, []),
    (4, [], "", 8, []),
    (1, [], "", 3, []),
    (4, [3, 1], "PQR", 9, [3, 1]),
    (4, [3], "P", 4, [3]),
    (4, [3, 1], "P", 9, [3]),
    (16, [2], "P", 33, [2]),
)


def check() -> None:
    for block_size, theirs, others, num_tokens, prefix in ALLOCATE_CASES:
        manager = make(num_blocks=6, block_size=block_size)
        for name in others:
            give(manager, name, theirs, len(theirs) * block_size)
        who = f"{', '.join(others)} {'holds' if len(others) == 1 else 'hold'} {theirs}"
        shares = f", prefix_blocks={prefix}) while {who}" if prefix else ")"
        with given(f'allocate_blocks("A", {num_tokens}{shares}, block_size={block_size}'):
            before, pool = books(manager), Pool(manager)
            free = list(manager.free_block_list)
            count = len(range(0, num_tokens, block_size)) - len(prefix)
            table = [*prefix, *free[len(free) - count :][::-1]]
            shared = list(prefix)
            got = manager.allocate_blocks("A", num_tokens, *[shared] * bool(prefix))
            expect(type(got), list, "type of the result")
            expect(got, table, "list of block ids (the result)")
            tables = before["block_tables"]
            expected = {
                "block_tables": {**tables, "A": table},
                "context_lens": {**before["context_lens"], "A": num_tokens},
                "free_block_list": free[: len(free) - count],
                "ref_counts": [len(others) * theirs.count(x) + table.count(x) for x in range(6)],
            }
            expect_books(manager, expected, "afterwards")
            expect(shared, prefix, "list `prefix_blocks` afterwards, which is the caller's,")
            got.append(99)
            expect(manager.block_tables["A"], table, 'table block_tables["A"] after the caller changed its result')
            shared.append(98)
            expect(manager.block_tables["A"], table, 'table block_tables["A"] after the caller changed `prefix_blocks`')
            pool.compare()
    for num_tokens, prefix, error, what in (
        (25, [], kv_cache.OutOfBlocksError, "answer to more tokens than there is room for"),
        (25, [3, 1], kv_cache.OutOfBlocksError, "answer to more tokens than there is room for"),
        (0, [], ValueError, "answer to a request of no tokens"),
        (-4, [], ValueError, "answer to a negative number of tokens"),
        (9, [0], ValueError, "answer to a prefix block that is free"),
        (9, [3, 3], ValueError, "answer to a prefix that names a block twice"),
        (5, [3, 1], ValueError, "answer to a prefix of more tokens than the request has"),
        (9.0, [], ValueError, "answer to a number of tokens that is no int"),
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
