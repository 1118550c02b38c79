from __future__ import annotations

import torch

from yaie.course.expect import expect, given
from yaie.kernels.kv_cache import KVCacheManager

from ..common import pool_after

AFTER = [  # what happens, then the blocks on the free list, the next one last
    ([("new", "a", 4), ("fork", "a", "b"), ("end", "a")], [7, 6, 5, 4, 3, 2, 1]),
    ([("new", "a", 8), ("end", "a")], [7, 6, 5, 4, 3, 2, 1, 0]),
    ([("new", "a", 4), ("fork", "a", "b"), ("end", "a"), ("end", "b")], [7, 6, 5, 4, 3, 2, 1, 0]),
    ([("new", "a", 4), ("fork", "a", "b"), ("fork", "a", "c"), ("end", "c")], [7, 6, 5, 4, 3, 2, 1]),
    ([("new", "a", 4), ("new", "b", 12), ("end", "a"), ("end", "b")], [7, 6, 5, 4, 0, 3, 2, 1]),
]


def check() -> None:
    for events, free in AFTER:
        with given(f"{events} in a pool of 8 blocks of 4 tokens"):
            expect(pool_after(events)["free blocks"], free, "free list")
    pool = KVCacheManager(4, 4, 1, 1, dtype=torch.float32)
    pool.allocate_blocks("a", 8)
    pool.retain([1, 0, 1])
    with given("blocks 0 and 1 are held by a request and retained, block 1 twice; then the request ends"):
        expect(pool.free_blocks("a"), [], "blocks that became free")
    with given("and then release([1, 0, 1])"):
        expect(pool.release([1, 0, 1]), [1, 0], "blocks that became free")
        expect(pool.free_block_list, [3, 2, 0, 1], "free list")
        expect(pool.ref_counts, [0, 0, 0, 0], "references of each block")
