from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from yaie.course.expect import Mismatch, expect, expect_lanes, expect_launch_error, expect_sectors, expect_stream, given
from yaie.course.language import engine_seam

LAUNCHERS = Path(__file__).with_suffix(".cu")
STREAM = 0x5EED  # the handle of a queue
TOKENS, UNITS = 64, 512  # of a profile: two warps that have a token for each lane are seen, and more units than threads
NEIGHBOURS = "Neighbouring threads should copy neighbouring units."


def check() -> None:
    module = engine_seam.module("memory/gather_pages.cu", more=LAUNCHERS)
    for num_blocks, block_size, row, table, context_len, unused in (
        (4, 2, 2, [3, 0], 3, []),
        (3, 1, 3, [2, 0, 1], 3, []),
        (5, 4, 5, [4, 1], 7, [10**9]),
        (4, 2, 2, [3, 0, 1], 6, []),
        (2, 3, 1200, [1], 2, []),
        (2, 3, 8, [1], 0, []),
    ):
        cache = torch.arange(num_blocks * block_size * row, dtype=torch.int32).view(num_blocks, block_size, row)
        wanted = cache[table].view(-1, row)[:context_len]
        out = torch.full((context_len, row), -1, dtype=torch.int32)
        with given(
            f"gather_pages from {num_blocks} blocks of {block_size} tokens of {row} numbers of 4 bytes (0, 1, 2, ...), "
            f"block_table = {table + unused}, context_len = {context_len}"
        ):
            module.gather_pages(cache, torch.tensor(table + unused), out, context_len, block_size, 4 * row)
            expect(out, wanted, "out")
    for token_bytes in (3, 6, 80, 5000):
        cache = (torch.arange(4 * 2 * token_bytes) % 251).to(torch.uint8).view(4, 2, token_bytes)
        out = torch.full((3, token_bytes), 255, dtype=torch.uint8)
        with given(
            f"gather_pages of tokens of {token_bytes} bytes, block_size 2, block_table = [3, 0], context_len = 3"
        ):
            module.gather_pages(cache, torch.tensor([3, 0]), out, 3, 2, token_bytes)
            expect(out, cache[[3, 0]].view(4, token_bytes)[:3], "out")
    missing, row = 2**23, 1024
    cache = torch.arange(2 * 2 * row, dtype=torch.int32)
    with given(f"block_size 2, tokens of {4 * row} bytes, block_table = [{missing + 1}], context_len = 2"):
        out = torch.full((2, row), -1, dtype=torch.int32)
        module.gather_far_pages(cache, torch.tensor([missing + 1]), out, 2, 2, 4 * row, missing)
        expect(out, cache[2 * row :].view(2, row), "out")
    with given(f"profile of {TOKENS} tokens of {4 * UNITS} numbers of 4 bytes"):
        cache = torch.zeros(TOKENS, 4 * UNITS, dtype=torch.int32)
        module.gather_pages(cache, torch.arange(TOKENS), cache.clone(), TOKENS, 1, 16 * UNITS, stream=STREAM)
        _expect_shared_work(module.profile())
        expect_stream(module.profile(), STREAM)
    with given("gather_pages of 3 tokens, on a stream that has been destroyed: a card refuses the launch"):
        cache = torch.zeros(4, 2, 2, dtype=torch.int32)  # its sizes have been tried: nothing but the stream is special
        out = torch.zeros(3, 2, dtype=torch.int32)
        expect_launch_error(lambda: module.gather_pages_too_late(cache, torch.tensor([3, 0]), out, 3, 2, 8))


def _expect_shared_work(profile: Any) -> None:
    expect_sectors(profile, 16, note=NEIGHBOURS)
    expect_lanes(profile, TOKENS * UNITS, width=16, note="Each unit of 16 bytes is copied by one thread.")
    blocks = sum(math.prod(launch.grid) for launch in profile.launches)
    if blocks < 2:
        headline = "The result is right, but one thread block does all the work."
        note = "Tokens have nothing to do with each other. A card has over a hundred multiprocessors."
        raise Mismatch("thread blocks", f"{blocks} for {TOKENS} tokens", "2 or more", "", note, headline)
