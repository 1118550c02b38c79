from __future__ import annotations

from yaie.course.expect import expect, given
from yaie.kernels import kv_cache

from ..common import Pool, books, expect_books, expect_refusal, give, make


def check() -> None:
    for num_layers, table, index, num_tokens in (
        (1, [0, 1], 1, 4),
        (1, [3], 0, 2),
        (1, [0, 1], 1, 3),
        (2, [0, 4, 1], 1, 6),
    ):
        manager = make(num_blocks=6, block_size=2, num_layers=num_layers)
        for name in ("A", "B"):
            give(manager, name, table, num_tokens)
        layers = "1 layer" if num_layers == 1 else f"{num_layers} layers"
        _check_copy(manager, index, f"A and B both have {num_tokens} tokens and the table {table}, {layers}")
    manager = make(num_blocks=6, block_size=2)
    give(manager, "B", [0, 1], 3)
    _check_copy(manager, 1, "B alone has the table [0, 1]")
    give(manager, "A", [0, 2], 4)
    _check_copy(manager, 1, "B has the table [0, 1], A has [0, 2]")
    give(manager, "C", [0], 2)
    _check_copy(manager, 0, "A, B and C all begin with block 0")
    manager = make(num_blocks=6, block_size=2)
    give(manager, "B", [0, 1], 4)
    manager.retain([1])
    _check_copy(manager, 1, "B alone has the table [0, 1], and the prefix cache has a reference on block 1")
    manager = make(num_blocks=2, block_size=2)
    for name in ("A", "B"):
        give(manager, name, [0, 1], 4)
    with given('copy_on_write("B", 1) with no free block; A and B both have the table [0, 1]'):
        call = lambda: manager.copy_on_write("B", 1)  # noqa: E731
        expect_refusal(manager, call, kv_cache.OutOfBlocksError, "answer when no block is free")
    with given('copy_on_write("C", 0), where only A and B have blocks'):
        call = lambda: manager.copy_on_write("C", 0)  # noqa: E731
        expect_refusal(manager, call, KeyError, "answer to a request without blocks")


def _check_copy(manager: kv_cache.KVCacheManager, index: int, situation: str) -> None:
    """Call `copy_on_write("B", index)` and compare books and pool with what they must be."""
    expected, pool = books(manager), Pool(manager)
    shared = manager.block_tables["B"][index]
    own = shared
    if manager.ref_counts[shared] > 1:
        own = expected["free_block_list"].pop()
        expected["block_tables"]["B"][index] = own
        expected["ref_counts"][shared] -= 1
        expected["ref_counts"][own] = 1
        for tensor in pool.expected.values():
            tensor[:, own] = tensor[:, shared]
    with given(f'copy_on_write("B", {index}): {situation}; block_size 2; key of each token = its slot'):
        got = manager.copy_on_write("B", index)
        expect_books(manager, expected, "afterwards")
        expect(got, own, "block id (the result)")
        pool.compare()
