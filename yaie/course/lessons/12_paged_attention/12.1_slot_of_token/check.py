from __future__ import annotations

import math

import torch

from yaie.course.expect import expect, given

from ..common import decode, one_hot


def check() -> None:
    cases = [(4, [1, 0], 2), (4, [1, 0], 6), (2, [3, 0, 2], 5), (1, [5, 2, 7], 3), (8, [0], 8)]
    for block_size, table, context_len in cases:
        _expect_slots("paged_decode_1_thread_per_head", block_size, table, context_len, 8)
    _expect_slots("paged_decode_3_grouped", 5, [2, 4, 0, 1, 5], 23, 32)


def _expect_slots(launcher: str, block_size: int, table: list[int], context_len: int, num_slots: int) -> None:
    slots = [table[p // block_size] * block_size + p % block_size for p in range(context_len)]
    expected = torch.zeros(num_slots)
    expected[slots] = 1 / context_len
    shape = (num_slots // block_size, block_size, 1, num_slots)
    values = one_hot(num_slots)[: math.prod(shape[:2])].reshape(shape)
    keys, query = torch.zeros(shape), torch.zeros(1, num_slots)
    with given(f"pages of {block_size}, block table {table}, a context of {context_len} tokens, all scores 0"):
        out = decode(launcher, query, keys, values, table, context_len)[0]
        expect(out, expected, "mean (the share of each slot of the cache)", tolerance=1e-5)
