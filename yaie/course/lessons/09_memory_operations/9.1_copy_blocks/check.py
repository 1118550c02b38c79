from __future__ import annotations

from pathlib import Path

import torch

from yaie.course.expect import Mismatch, expect, expect_lanes, expect_sectors, expect_share, given
from yaie.course.language import engine_seam

LAUNCHERS = Path(__file__).with_suffix(".cu")
NEIGHBOURS = "Neighbouring threads move neighbouring units at the same time."
SHARED_OUT = "Each unit is moved by one thread, and all threads of all thread blocks have units to move."


def _caches(num_layers: int, num_blocks: int, block_ints: int, dtype=torch.int32) -> list[torch.Tensor]:
    """Key and value cache of different numbers, from which each number's place can be told."""
    key = torch.arange(num_layers * num_blocks * block_ints).reshape(num_layers, num_blocks, block_ints)
    return [key.to(dtype), (key + 50).to(dtype)]


def _copied(caches: list[torch.Tensor], pairs: list[list[int]]) -> list[torch.Tensor]:
    wanted = [cache.clone() for cache in caches]
    for cache in wanted:
        cache[:, [target for _, target in pairs]] = cache[:, [source for source, _ in pairs]]
    return wanted


def check() -> None:
    module = engine_seam.module("memory/copy_blocks.cu", more=LAUNCHERS)
    cases = [
        (1, 3, 2, [[0, 2]], torch.int32),
        (2, 3, 2, [[0, 2]], torch.int32),
        (2, 6, 4, [[5, 0], [1, 3]], torch.int32),
        (1, 2, 6, [[0, 1]], torch.uint8),
        (1, 3, 1200, [[2, 1]], torch.int32),
    ]
    for num_layers, num_blocks, block_ints, pairs, dtype in cases:
        caches = _caches(num_layers, num_blocks, block_ints, dtype)
        wanted = _copied(caches, pairs)
        mapping = torch.tensor(pairs)
        shape = [num_layers, num_blocks, block_ints]
        with given(
            f"copy_blocks of caches [num_layers, num_blocks, numbers per block] = {shape}, block_mapping = {pairs}"
        ):
            launch = module.copy_blocks_2_vectors
            launch(*caches, mapping, len(pairs), num_layers, num_blocks, block_ints * caches[0].element_size())
            _expect(caches, wanted)
    for missing, units in ((0, 200), (2**22, 1024)):
        caches = _caches(1, 3, units)
        wanted = _copied(caches, [[0, 2]])
        with given(f"thread blocks of 64 threads, blocks of {units} units, block_mapping = {[[missing, missing + 2]]}"):
            module.copy_far_blocks(*caches, torch.tensor([[missing, missing + 2]]), 1, units, missing)
            _expect(caches, wanted)
    caches, copies = _caches(1, 2, 600), torch.zeros(1, dtype=torch.int32)
    with given("copies of units, a pair of blocks of 600 numbers of 4 bytes"):
        module.count_copies(*caches, torch.tensor([[0, 1]]), 2, 600, copies)
        if copies.item() > 2 * 600:
            headline = "The result is right, but units are copied more than once."
            raise Mismatch("copies", f"{copies.item()} copies", "1200, one of each unit", "", SHARED_OUT, headline)
    caches = _caches(2, 4, 1024)
    with given("profile of copy_blocks_1_elements, 2 layers, 2 pairs of blocks of 1024 numbers of 4 bytes"):
        arguments = (*caches, torch.tensor([[0, 1], [2, 3]]), 2, 2, 4, 4096)
        profile = module.profile("copy_blocks_1_elements", *arguments)
        expect_sectors(profile, 4, note=NEIGHBOURS)
        expect_lanes(profile, 2 * 2 * 2 * 1024, note=SHARED_OUT)
        expect_share(profile, 4, note=SHARED_OUT)
        written = {step.array for step in profile.trace if step.operation == "store"}
        expect(written, {"key_cache"}, "cache that thread block (0, 0, 0) writes to")


def _expect(caches: list[torch.Tensor], wanted: list[torch.Tensor]) -> None:
    expect(caches[0], wanted[0], "key cache afterwards", axes="layer block number")
    expect(caches[1], wanted[1], "value cache afterwards", axes="layer block number")
