from __future__ import annotations

import torch

from yaie.course.expect import expect, given

from ..common import copied_block


def check() -> None:
    for n in (8, 256, 257, 1000):
        with given(f"copy block 0 to block 1, with {n} numbers in a block"):
            expect(copied_block(n), torch.arange(n, dtype=torch.float32), "block 1")
