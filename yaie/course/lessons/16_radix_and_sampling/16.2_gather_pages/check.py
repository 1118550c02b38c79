from __future__ import annotations

from pathlib import Path

import torch

from yaie.course.expect import Mismatch, expect, expect_lanes, expect_sectors, given
from yaie.course.language import engine_seam

LAUNCHERS = Path(__file__).with_suffix(".cu")
NEIGHBOURS = "Neighbouring threads should copy neighbouring units."


def check() -> None:
    module = engine_seam.module("memory/gather_pages.cu", more=LAUNCHERS)
    for num_blocks, block_size, row, table, context_len, unused in (
        (4, 2, 2, [3, 0], 3, []),
        (3, 1, 3, [2, 0, 1], 3, []),
        (5, 4, 5, [4, 1], 7, [10**9]),
        (4, 2, 2, [3, 0, 1], 6, []),
        (2, 3, 1200, [1], 2, []),
    ):
        cache = torch.arange(num_blocks * block_size * row, dtype=torch.int32).view(num_blocks, block_size, row)
        wanted = cache[table].view(-1, row)[:context_len]
        out = torch.full((context_len, row), -1, dtype=torch.int32)
        with given(
            f"gather_pages from {num_blocks} blocks of {block_size} tokens of {row} numbers (0, 1, 2, ...), "
            f"block_table = {table + unused}, context_len = {context_len}"
        ):
            module.gather_pages(cache, torch.tensor(table + unused), out, context_len, block_size, 4 * row)
            expect(out, wanted, "out")
    missing, units = 2**20, 1024
    cache = torch.arange(2 * 2 * units, dtype=torch.int32)
    with given(f"block_size 2, {units} units per token, block_table = [{missing + 1}], context_len = 2"):
        out = torch.full((2, units), -1, dtype=torch.int32)
        module.gather_far_pages(cache, torch.tensor([missing + 1]), out, 2, 2, units, missing)
        expect(out, cache[2 * units :].view(2, units), "out")
    with given("profile of 2 tokens of 4096 numbers"):
        cache = torch.zeros(2, 4096, dtype=torch.int32)
        module.gather_pages(cache, torch.arange(2), cache.clone(), 2, 1, 4 * 4096)
        profile = module.profile()
        expect_sectors(profile, 16, note=NEIGHBOURS)
        expect_lanes(profile, 2048, note="Each unit of 16 bytes is copied by one thread.")
        tokens = {place // 4096 for step in profile.trace if step.array == "out" for place in step.elements}
        if tokens != {0}:
            headline = "The result is right, but a thread block copies tokens of other blocks."
            note = "Thread block p copies the token at position p, and no other."
            raise Mismatch("blocks", f"block 0 copies the tokens {sorted(tokens)}", "token 0", "", note, headline)
