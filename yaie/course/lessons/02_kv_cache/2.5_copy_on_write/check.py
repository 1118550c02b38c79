from __future__ import annotations

from yaie.course.expect import expect, given
from yaie.kernels import kv_cache

from ..common import books, expect_books, expect_refusal, give, make


def check() -> None:
    for num_layers, table, index in ((1, [0, 1], 1), (1, [3], 0), (2, [0, 4, 1], 1)):
        manager = make(num_blocks=6, block_size=2, num_layers=num_layers)
        for name in ("A", "B"):
            give(manager, name, table, 2 * len(table))
        _check_copy(manager, index, f"A and B both have the table {table}, {num_layers} layers")
    manager = make(num_blocks=6, block_size=2)
    give(manager, "B", [0, 1], 3)
    _check_copy(manager, 1, "B alone has the table [0, 1]")
    give(manager, "A", [0, 2], 4)
    _check_copy(manager, 1, "B has the table [0, 1], A has [0, 2]")
    give(manager, "C", [0], 2)
    _check_copy(manager, 0, "A, B and C all begin with block 0")
    manager = make(num_blocks=2, block_size=2)
    for name in ("A", "B"):
        give(manager, name, [0, 1], 4)
    with given('copy_on_write("B", 1) with no free block; A and B both have the table [0, 1]'):
        call = lambda: manager.copy_on_write("B", 1)  # noqa: E731
        expect_refusal(manager, call, kv_cache.OutOfBlocksError, "answer when no block is free")


def _check_copy(manager: kv_cache.KVCacheManager, index: int, situation: str) -> None:
    """Call `copy_on_write("B", index)` and compare books and pool with what they must be."""
    expected = books(manager)
    keys, values = manager.key_cache.clone(), manager.value_cache.clone()
    shared = manager.block_tables["B"][index]
    own = shared
    if sum(shared in table for table in manager.block_tables.values()) > 1:
        own = expected["free_block_list"].pop()
        expected["block_tables"]["B"][index] = own
        expected["ref_counts"][shared] -= 1
        expected["ref_counts"][own] = 1
        keys[:, own], values[:, own] = keys[:, shared], values[:, shared]
    num_layers = len(keys)
    with given(f'copy_on_write("B", {index}): {situation}; block_size 2; key of each token = its slot'):
        expect(manager.copy_on_write("B", index), own, "block id (the result)")
        expect_books(manager, expected, "afterwards")
        for layer in range(num_layers):
            where = f" in layer {layer}" if num_layers > 1 else ""
            expect(manager.key_cache[layer].view(-1), keys[layer].view(-1), f"key_cache{where}, slot by slot")
            expect(manager.value_cache[layer].view(-1), values[layer].view(-1), f"value_cache{where}, slot by slot")
