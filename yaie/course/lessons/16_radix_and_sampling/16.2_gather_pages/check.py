from __future__ import annotations

import torch

from yaie.course.expect import expect, given
from yaie.course.language import engine_seam


def check() -> None:
    module = engine_seam.module("memory/gather_pages.cu")
    for num_blocks, block_size, row, table, context_len in (
        (4, 2, 2, [3, 0], 3),
        (3, 1, 3, [2, 0, 1], 3),
        (5, 4, 5, [4, 1], 7),
        (2, 3, 1200, [1], 2),
    ):
        cache = torch.arange(num_blocks * block_size * row, dtype=torch.int32).view(num_blocks, block_size, row)
        wanted = cache[table].view(-1, row)[:context_len]
        out = torch.full((context_len, row), -1, dtype=torch.int32)
        with given(
            f"gather_pages from {num_blocks} blocks of {block_size} tokens of {row} numbers (0, 1, 2, ...), "
            f"block_table = {table}, context_len = {context_len}"
        ):
            module.gather_pages(cache, torch.tensor([*table, 10**9]), out, context_len, block_size, 4 * row)
            expect(out, wanted, "out")
