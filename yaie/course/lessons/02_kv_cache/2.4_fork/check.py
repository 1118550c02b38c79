from __future__ import annotations

from yaie.course.expect import expect, given

from ..common import Pool, books, expect_books, expect_refusal, give, make


def check() -> None:
    for table, num_tokens in (([0, 1], 6), ([0], 3), ([4, 1, 3], 12)):
        manager = make(num_blocks=6, block_size=4)
        give(manager, "A", table, num_tokens)
        before, pool = books(manager), Pool(manager)
        with given(f'fork("A", "B"), where "A" has {num_tokens} tokens in the blocks {table} (block_size=4)'):
            got = manager.fork("A", "B")
            expect(type(got), list, "type of the result")
            expect(got, table, "list of block ids (the result)")
            expected = {
                "block_tables": {"A": table, "B": table},
                "context_lens": {"A": num_tokens, "B": num_tokens},
                "free_block_list": before["free_block_list"],
                "ref_counts": [2 * table.count(block_id) for block_id in range(6)],
            }
            expect_books(manager, expected, "afterwards")
            got.append(99)
            for name in ("A", "B"):
                expect(manager.block_tables[name], table, f'table of "{name}" after the caller changed its result')
            manager.block_tables["A"].append(98)
            expect(manager.block_tables["B"], table, 'table of "B" after that of "A" grew')
            pool.compare()
    manager = make(num_blocks=6, block_size=4)
    give(manager, "A", [0, 1], 6)
    with given('fork("A", "B"); fork("B", "C"), where "A" has 6 tokens in the blocks [0, 1]'):
        manager.fork("A", "B")
        manager.fork("B", "C")
        expect(manager.ref_counts, [3, 3, 0, 0, 0, 0], "ref_counts afterwards")
    give(manager, "D", [2], 1)
    with given('fork("A", "D"), where both have blocks already'):
        expect_refusal(manager, lambda: manager.fork("A", "D"), ValueError, "answer to a child that has blocks")
    with given('fork("nobody", "E")'):
        expect_refusal(manager, lambda: manager.fork("nobody", "E"), KeyError, "answer to a parent without blocks")
