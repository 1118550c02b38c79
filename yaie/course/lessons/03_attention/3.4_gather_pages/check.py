from __future__ import annotations

import torch

from yaie.course.expect import expect, given
from yaie.kernels import paged

from ..common import expect_tensor


def check() -> None:
    for block_size, table, context_len, dtype in (
        (2, [3], 2, torch.int64),
        (2, [3, 0], 4, torch.int64),
        (2, [3, 0], 3, torch.int64),
        (2, [3, 0, -1, 99], 3, torch.int64),
        (2, [3, 0, 99, -1], 4, torch.int32),
        (2, [3, 0, 1, 99], 4, torch.int64),
        (2, [3, 0, 1, 2, 99], 4, torch.int64),
        (1, [2, 3, 0], 3, torch.int64),
        (4, [1, 3, 2], 9, torch.int64),
        (16, [3, 1, 0], 33, torch.int64),
        (16, [2, 0], 15, torch.int64),
    ):
        cache = torch.arange(4 * block_size).float().view(4, block_size, 1, 1)
        cache = torch.cat((cache, -cache), dim=2)  # two heads
        rows = [cache[block, row] for block in table if block in range(4) for row in range(block_size)]
        with given(
            f"gather_pages(cache, {table}, {context_len}): 4 blocks of {block_size}, 2 heads of one number, which is "
            "the slot and minus the slot"
        ):
            before = cache.clone()
            got = paged.gather_pages(cache, torch.tensor(table, dtype=dtype), context_len)
            expect_tensor(got, torch.stack(rows[:context_len]), "gathered tokens", torch.float32)
            got.zero_()
            expect(cache, before, "content of `cache` after the result, a copy, was overwritten,")
    cache = torch.arange(4.0, dtype=torch.float16).view(2, 2, 1, 1)
    with given("gather_pages(cache, [1, 0], 3): 2 blocks of 2, one head of one number, the slot, in float16"):
        got = paged.gather_pages(cache, torch.tensor([1, 0]), 3)
        expect_tensor(got, torch.tensor([2.0, 3.0, 0.0]).view(3, 1, 1), "gathered tokens", torch.float16)
