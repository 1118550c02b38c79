from __future__ import annotations

from math import exp2, log2
from pathlib import Path

import torch

from yaie.course.expect import expect, given, named
from yaie.course.language import engine_seam

LAUNCHERS = Path(__file__).with_suffix(".cu")
LSE_UNSET = "`lse` was not set. It is a reference: assign to it."
BASE_E = "The lses are logarithms to base 2: use `exp2f` and `log2f`."
BY_COUNT = "The sum was divided by the number of parts, not by the sum of their weights."
RELATIVE = "`lse` is relative to the largest lse, which was subtracted. Add it again."
FIRST_LEFT = "The first part is missing."
LAST_LEFT = "The last part is missing."
TOO_LARGE = "A weight does not fit into a float, or all of them are 0. Subtract the largest of all lses first."
TOTAL = "`lse` is the logarithm of the sum of the weights 2^lses[i]."
NO_STRIDE = "Only the parts are `stride` apart. The lses are contiguous."
MIXED = "The sum is relative to the largest lse, and what divides it is not."
LSES_WEIGH = "A part weighs 2^lse, not lse."
# lses and parts, and some wrong (mean, lse).
CASES = [
    (
        [1.0, 2.0],
        [10.0, 40.0],
        [
            ([30.0, -1.0], LSE_UNSET),
            ([30.0, log2(6) - 2], RELATIVE),
            ([31.932, 2.3133], BASE_E),
            ([31.932, 2.452], BASE_E),
            ([30.0, 2 + 0.4055], BASE_E),
            ([22.5, log2(6)], BY_COUNT),
            ([90.0, log2(6)], BY_COUNT),
            ([40.0, 2.0], FIRST_LEFT),
            ([10.0, 1.0], LAST_LEFT),
            ([30.0, 2 + log2(3)], LSES_WEIGH),
            ([30.0, 3.5], TOTAL),
            ([30.0, 3.0], TOTAL),
            ([7.5, log2(6)], MIXED),
            ([40.0, 900.0], NO_STRIDE),
            ([30.0, 1 + log2(1.5)], "`lse` is made with the lse of the first part, not with the largest."),
            ([100 / 3, log2(6)], "In the sum, a part weighs 2^(lse - largest), also where the largest comes later."),
            ([22.5, 3.0], "The total is 2. In it, too, part 0 weighs 2^(1 - 2)."),
            ([20.0, 2 + log2(3)], "The weights are upside down: the part with the larger lse weighs more."),
        ],
    ),
    ([5.0], [7.0], []),
    ([0.0, 0.0], [2.0, 4.0], []),
    ([1.0, 2.0, 4.0, 3.0], [10.0, 40.0, 5.0, -8.0], []),
    ([201.0, 200.0], [3.0, 6.0], []),
    ([-200.0, -201.0], [3.0, 6.0], []),
    ([0.0, 200.0], [3.0, 6.0], []),
    ([200.0, 0.0], [3.0, 6.0], []),
    ([200.0, 0.0, 201.0], [3.0, 6.0, 9.0], []),
    ([-1000.0, -1001.0], [3.0, 6.0], []),
    ([0.0, -12.0], [0.0, 4096.0], []),
]


def check() -> int:
    module = engine_seam.module("paged_attention/paged_decode_1_thread_per_head.cu", more=LAUNCHERS)
    for lses, parts, wrong in CASES:
        stride = 2 if len(lses) > 1 else 1
        apart = torch.full((stride * (len(lses) - 1) + 1,), 1000.0)
        apart[::stride] = torch.tensor(parts)
        merged = torch.full((2,), -1.0)
        total = sum(exp2(lse - max(lses)) for lse in lses)
        mean = sum(exp2(lse - max(lses)) * part for lse, part in zip(lses, parts, strict=True)) / total
        with given(f"lses {_short(lses)}, parts {_short(parts)}, stride {stride}"):
            module.merge(torch.tensor(lses + [900.0] * len(lses)), apart, len(lses), stride, merged)
            wanted = [mean, max(lses) + log2(total)]
            note = named(merged, wrong) or (TOO_LARGE if not merged.isfinite().all() else "")
            expect(merged, wanted, "merged element and lse", tolerance=1e-3, note=note)
    with given("profile of 8 sets"):
        lines = module.profile("merge", torch.arange(8.0), torch.ones(8), 8, 1, merged).lines
        return sum(line.requests for line in lines if (line.space, line.operation) == ("global", "load"))


def _short(numbers: list[float]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)
