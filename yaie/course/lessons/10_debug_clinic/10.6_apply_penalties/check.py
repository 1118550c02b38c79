from __future__ import annotations

import torch

from yaie.course.expect import expect, given
from yaie.kernels import sampling

from ..common import punished


def check() -> None:
    for logits, penalties, wanted in (
        ([[4.0, 1.0]], [2.0], [[2.0, 1.0]]),
        ([[-3.0, 1.0]], [2.0], [[-6.0, 1.0]]),
        ([[0.0, -1.0]], [4.0], [[0.0, -1.0]]),
        ([[3.0, 1.0], [-3.0, 1.0]], [0.5, 0.5], [[6.0, 1.0], [-1.5, 1.0]]),
        ([[-3.0, 2.0], [-3.0, 2.0]], [1.0, 4.0], [[-3.0, 2.0], [-12.0, 2.0]]),
    ):
        with given(f"logits {logits}, token 0 in the prompt, repetition penalties {penalties}"):
            expect(punished(logits, penalties), wanted, "logits", tolerance=1e-5)
    logits = [[2.0, -2.0, 2.0, -2.0]]
    with given(f"logits {logits}, tokens 0 and 1 in the prompt, 1 and 2 in the output, both penalties 2"):
        prompt, output = torch.tensor([[True, True, False, False]]), torch.tensor([[False, True, True, False]])
        two = torch.tensor([2.0])
        got = sampling.apply_penalties(torch.tensor(logits), prompt, output, two, two)
        expect(got.tolist(), [[1.0, -6.0, -1.0, -2.0]], "logits", tolerance=1e-5)
