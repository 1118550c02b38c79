from __future__ import annotations

import torch

from yaie.course.expect import expect, expect_lanes, expect_sectors, given
from yaie.course.language import engine_seam


def _caches(num_layers: int, num_blocks: int, block_ints: int, dtype=torch.int32) -> list[torch.Tensor]:
    """Key and value cache of different numbers, from which each number's place can be told."""
    key = torch.arange(num_layers * num_blocks * block_ints).reshape(num_layers, num_blocks, block_ints)
    return [key.to(dtype), (key + 50).to(dtype)]


def check() -> None:
    module = engine_seam.module("memory/copy_blocks.cu")
    cases = [
        (1, 3, 2, [[0, 2]], torch.int32),
        (2, 3, 2, [[0, 2]], torch.int32),
        (2, 6, 4, [[5, 0], [1, 3]], torch.int32),
        (1, 2, 6, [[0, 1]], torch.uint8),
        (1, 3, 1200, [[2, 1]], torch.int32),
    ]
    for num_layers, num_blocks, block_ints, pairs, dtype in cases:
        caches = _caches(num_layers, num_blocks, block_ints, dtype)
        wanted = [cache.clone() for cache in caches]
        for cache in wanted:
            cache[:, [target for _, target in pairs]] = cache[:, [source for source, _ in pairs]]
        mapping = torch.tensor(pairs)
        shape = [num_layers, num_blocks, block_ints]
        with given(
            f"copy_blocks of caches [num_layers, num_blocks, numbers per block] = {shape}, block_mapping = {pairs}"
        ):
            launch = module.copy_blocks_2_vectors
            launch(*caches, mapping, len(pairs), num_layers, num_blocks, block_ints * caches[0].element_size())
            expect(caches[0], wanted[0], "key cache afterwards")
            expect(caches[1], wanted[1], "value cache afterwards")
    caches = _caches(1, 2, 1024)
    with given("profile of copy_blocks_1_elements with blocks of 1024 numbers of 4 bytes"):
        profile = module.profile("copy_blocks_1_elements", *caches, torch.tensor([[0, 1]]), 1, 1, 2, 4096)
        expect_sectors(profile, 4)
        expect_lanes(profile, 2048, note="Each number of a block is copied by one thread, in both caches.")
