from __future__ import annotations

from yaie.course.expect import expect, given
from yaie.kernels import kv_cache


def check() -> None:
    for block_size in (4, 1, 16):
        manager = kv_cache.KVCacheManager(num_blocks=1, block_size=block_size, num_heads=1, head_dim=1)
        for num_tokens in (1, block_size, block_size + 1, 2 * block_size, 5 * block_size - 1, 4097, 0):
            with given(f"blocks_needed({num_tokens}) with block_size {block_size}"):
                got = manager.blocks_needed(num_tokens)
                expect(type(got), int, "type of the result")
                expect(got, len(range(0, num_tokens, block_size)), "number of blocks")
