from __future__ import annotations

import torch

from yaie.course.expect import expect, given
from yaie.kernels import sampling

from ..common import NO, by_logit, kind, random_logits, shown_rows, unchanged

TEMPERATURE_CASES: tuple[tuple[list[list[float]], list[float]], ...] = (
    ([[3.0, 2.0, 1.0]], [1.0]),
    ([[2.0, 1.0, 0.0]], [0.5]),
    ([[0.0, 3.0, 1.0]], [2.0]),
    ([[0.0, 3.0, 1.0]], [0.0]),
    ([[5.0, 7.0, 7.0, 7.0]], [0.0]),
    ([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0]], [1.0, 0.25]),
    ([[2.0, 1.0, 0.0], [0.0, 3.0, 1.0], [1.0, NO, 4.0]], [0.5, 0.0, 2.0]),
    ([[1000.0, 999.0]], [0.001]),
    ([[-3.0]], [0.0]),
    ([[2e-6, 1e-6, 0.0]], [1e-6]),  # small, and not 0
)


def check() -> None:
    cases = [(torch.tensor(rows), temperature) for rows, temperature in TEMPERATURE_CASES]
    cases += [(random_logits(n, size), [0.0, 0.7, 1.5, 0.2][:n]) for n, size in ((1, 1), (3, 17), (4, 129))]
    for logits, temperature in cases:
        expected = []
        for row, t in zip(logits.tolist(), temperature, strict=True):
            best = by_logit(row)[0]
            if t == 0:
                expected.append([0.0 if i == best else NO for i in range(len(row))])
            else:
                expected.append([(x - row[best]) / t for x in row])
        before = logits.clone()
        with given(f"apply_temperature({shown_rows(logits)}, torch.tensor({temperature}))"):
            given_temperature = torch.tensor(temperature)
            got = sampling.apply_temperature(logits, given_temperature)
            expect(kind(got), "Tensor", "type of the result")
            expect(got, torch.tensor(expected), "result", tolerance=1e-3)
            expect(str(got.dtype), "torch.float32", "dtype of the result")
            unchanged(logits, before)
            expect(given_temperature, torch.tensor(temperature), "content of `temperature` after the call (as before)")
    with given("apply_temperature(torch.tensor([[1000., 999., 0.]]), torch.tensor([1e-38])).softmax(-1)"):
        tiny = sampling.apply_temperature(torch.tensor([[1000.0, 999.0, 0.0]]), torch.tensor([1e-38]))
        expect(tiny.softmax(dim=-1), torch.tensor([[1.0, 0.0, 0.0]]), "row of probabilities", tolerance=1e-6)
