from __future__ import annotations

from yaie.course.expect import expect, given
from yaie.kernels import kv_cache


def check() -> None:
    manager = _manager(4)
    with given("blocks_needed(1) with block_size 4"):
        expect(type(manager.blocks_needed(1)), int, "type of the result")
    with given("blocks_needed(0), blocks_needed(1), ... blocks_needed(9) with block_size 4"):
        got = [manager.blocks_needed(num_tokens) for num_tokens in range(10)]
        expect(got, [0, 1, 1, 1, 1, 2, 2, 2, 2, 3], "list of the ten results")  # all at once: each mistake has its own
    for block_size in (4, 1, 16, 4096):
        manager = _manager(block_size)
        for num_tokens in (
            1,
            block_size,
            block_size + 1,
            block_size + 2,
            2 * block_size,
            5 * block_size - 1,
            4097,
            2**24 + 1,
            0,
        ):
            with given(f"blocks_needed({num_tokens}) with block_size {block_size}"):
                got = manager.blocks_needed(num_tokens)
                expect(type(got), int, "type of the result")
                expect(got, len(range(0, num_tokens, block_size)), "number of blocks")


def _manager(block_size: int) -> kv_cache.KVCacheManager:
    return kv_cache.KVCacheManager(num_blocks=1, block_size=block_size, num_heads=1, head_dim=1)
