from __future__ import annotations

from pathlib import Path

import torch

from yaie.course.expect import expect, expect_lanes, expect_sectors, expect_share, given, named
from yaie.course.language import engine_seam

LAUNCHERS = Path(__file__).with_suffix(".cu")
NEIGHBOURS = "Neighbouring threads move neighbouring units at the same time."
ZEROED = "Slot 0 was filled with zeros. A token with a negative slot is padding: nothing is stored for it."
SHARED_OUT = "Each unit is moved by one thread, and all threads of all thread blocks have units to move."


def check() -> None:
    module = engine_seam.module("memory/reshape_and_cache.cu", more=LAUNCHERS)
    for num_slots, row, slots in ((4, 2, [1]), (6, 3, [5, 0]), (4, 4, [3, -1]), (4, 4, [-7, 2]), (3, 1200, [2, 1])):
        key, value = _rows(len(slots), row)
        caches = [torch.full((num_slots, row), 7000, dtype=torch.int32) for _ in range(2)]
        wanted = [cache.clone() for cache in caches]
        for token, slot in enumerate(slots):
            if slot >= 0:
                wanted[0][slot], wanted[1][slot] = key[token], value[token]
        given_text = f"reshape_and_cache of {len(slots)} rows of {row} numbers (1, 2, 3, ...; values -1, -2, -3, ...)"
        with given(f"{given_text} into {num_slots} slots of 7000s, slot_mapping = {slots}"):
            module.reshape_and_cache(key, value, *caches, torch.tensor(slots), len(slots), 4 * row)
            expect(caches[0], wanted[0], "key cache afterwards", note=_zeroed(caches[0], wanted[0], slots))
            expect(caches[1], wanted[1], "value cache afterwards", note=_zeroed(caches[1], wanted[1], slots))
    for missing, units in ((0, 200), (2**22, 1024)):
        key, value = _rows(1, units)
        caches = [torch.zeros(1, units, dtype=torch.int32) for _ in range(2)]
        with given(f"thread blocks of 64 threads, a row of {units} units, slot_mapping = {[missing]}"):
            module.reshape_and_cache_far(key, value, *caches, torch.tensor([missing]), 1, units, missing)
            expect(caches[0], key, "key cache afterwards")
            expect(caches[1], value, "value cache afterwards")
    rows = torch.zeros(2, 8192, dtype=torch.uint8)
    with given("profile of reshape_and_cache with 2 rows of 8192 bytes, in units of 16 bytes"):
        arguments = (rows, rows.clone(), rows + 1, rows + 1, torch.tensor([0, 1]), 2, 8192)
        profile = module.profile("reshape_and_cache", *arguments)
        expect_sectors(profile, 16, note=NEIGHBOURS)
        expect_lanes(profile, 2 * 2 * 512, note=SHARED_OUT)
        expect_share(profile, 4, note=SHARED_OUT)


def _rows(num_tokens: int, row: int) -> tuple[torch.Tensor, torch.Tensor]:
    key = torch.arange(1, num_tokens * row + 1, dtype=torch.int32).reshape(num_tokens, row)
    return key, -key


def _zeroed(got: torch.Tensor, wanted: torch.Tensor, slots: list[int]) -> str:
    """What is said where slot 0 was filled with zeros for a token of padding, and all else is right."""
    zeroed = wanted.clone()
    zeroed[0] = 0
    return named(got, [(zeroed.tolist(), ZEROED)]) if min(slots) < 0 else ""
