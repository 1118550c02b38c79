from __future__ import annotations

import torch

from yaie.course.expect import expect, given

from ..common import module, total


def check() -> None:
    numbers, sum = torch.full((5,), 3.0), torch.zeros(1)
    with given("the sum of 3, 3, 3, 3, 3"):
        module("memory/reduce.cu").reduce_1_atomics(numbers, sum, 5)
        expect(sum, [15.0], "sum", note="" if sum.item() != 5 else "The numbers were counted, not added up.")
    for n in (1, 2, 33, 257, 1000):
        with given(f"the sum of 1, 2, ..., {n}"):
            sum, wanted = total("reduce_1_atomics", n), n * (n + 1) / 2
            times = sum / wanted
            note = f"That is {times:.0f} times the sum. A block has 256 threads."
            expect(sum, wanted, "sum", note=note if times > 1 and times % 1 == 0 else "")
