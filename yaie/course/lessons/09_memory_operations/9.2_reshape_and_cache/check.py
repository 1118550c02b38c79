from __future__ import annotations

import torch

from yaie.course.expect import expect, expect_lanes, expect_sectors, given
from yaie.course.language import engine_seam


def check() -> None:
    module = engine_seam.module("memory/reshape_and_cache.cu")
    for num_slots, row, slots in ((4, 2, [1]), (6, 3, [5, 0]), (6, 4, [5, -1, 0]), (3, 1200, [2, 1])):
        key = torch.arange(1, len(slots) * row + 1, dtype=torch.int32).reshape(len(slots), row)
        value = -key
        caches = [torch.zeros(num_slots, row, dtype=torch.int32) for _ in range(2)]
        wanted = [cache.clone() for cache in caches]
        for token, slot in enumerate(slots):
            if slot >= 0:
                wanted[0][slot], wanted[1][slot] = key[token], value[token]
        given_text = f"reshape_and_cache of {len(slots)} rows of {row} numbers (1, 2, 3, ...; values -1, -2, -3, ...)"
        with given(f"{given_text} into {num_slots} slots of zeros, slot_mapping = {slots}"):
            module.reshape_and_cache(key, value, *caches, torch.tensor(slots), len(slots), 4 * row)
            expect(caches[0], wanted[0], "key cache afterwards")
            expect(caches[1], wanted[1], "value cache afterwards")
    rows = torch.zeros(1, 4096, dtype=torch.uint8)
    with given("profile of reshape_and_cache with a row of 4096 bytes, in units of 16 bytes"):
        profile = module.profile("reshape_and_cache", rows, rows, rows + 1, rows + 1, torch.tensor([0]), 1, 4096)
        expect_sectors(profile, 16)
        expect_lanes(profile, 512, note="Each unit of a row is stored by one thread, in both caches.")
