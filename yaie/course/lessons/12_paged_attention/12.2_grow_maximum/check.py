from __future__ import annotations

from pathlib import Path

import torch

from yaie.course.expect import expect, given, named
from yaie.course.language import engine_seam

LAUNCHERS = Path(__file__).with_suffix(".cu")
LOWEST = torch.finfo(torch.float32).min
BASE_E = "The weights are powers of 2, not of e: `exp2f`."
EARLY = "`largest` was overwritten before its old value was used, so the factor is always 1."
NO_WEIGHT = "The weight of `score` was added to `total`. The caller does that."
SCORE = "The factor is 2^(old maximum - new maximum), not 2^(score - new maximum)."
DOWN = "The maximum went down to a smaller score: then earlier weights grow, until they do not fit into a float."
BY_TOTAL = "`total` must be multiplied by the factor."
TOO_LARGE = "2^largest does not fit into a float. Subtract first: 2^(old maximum - new maximum) is at most 1."
STAYS = "Where the maximum stays, the factor is 1."
NOT_RETURNED = "The factor is not returned, so the caller's sums are not corrected."
# By the score, `largest` and `total` before: `largest`, `total` and what is returned, afterwards.
CASES = [
    (
        (1.0, 3.0, 5.0),
        (3.0, 5.0, 1.0),
        [
            ([3.0, 1.25, 0.25], SCORE),
            ([3.0, 5.25, 1.0], NO_WEIGHT),
            ([3.0, 1.0, 1.0], BY_TOTAL),
            ([3.0, 5.0, 5.0], NOT_RETURNED),
            ([3.0, 5.0, 0.0], STAYS),
            ([3.0, 0.0, 0.0], STAYS),
        ],
    ),
    (
        (4.0, 3.0, 5.0),
        (4.0, 2.5, 0.5),
        [
            ([4.0, 5.0, 1.0], EARLY),
            ([4.0, 1.8394, 0.3679], BASE_E),
            ([4.0, 3.5, 0.5], NO_WEIGHT),
            ([4.0, 10.0, 0.5], BY_TOTAL),
            ([4.0, 2.5, 1.0], NOT_RETURNED),
            ([4.0, 5.5, 0.5], "`total` is multiplied by the factor, and not added to it."),
            ([4.0, 4.5, 0.5], "`total` is multiplied by the factor, which is not taken off it."),
            ([4.0, 0.5, 0.5], "The old `total` is lost: multiply it by the factor."),
            ([4.0, 2.5, 2.0], "What is returned is upside down: the caller multiplies by it."),
        ],
    ),
    ((2.0, LOWEST, 0.0), (2.0, 0.0, 0.0), [([2.0, 0.0, 1.0], "From -FLT_MAX to any score the factor is 0.")]),
    ((-5.0, LOWEST, 0.0), (-5.0, 0.0, 0.0), [([0.0, 0.0, 0.0], "All scores may be below 0, so 0 is not a maximum.")]),
    ((3.0, 3.0, 5.0), (3.0, 5.0, 1.0), []),
    ((3.25, 3.0, 5.0), (3.25, 5 * 2**-0.25, 2**-0.25), []),
    ((2.75, 3.0, 5.0), (3.0, 5.0, 1.0), []),
    ((2.999, 3.0, 5.0), (3.0, 5.0, 1.0), []),
    ((3.0, -27.0, 2.0**30), (3.0, 1.0, 2.0**-30), []),
    ((201.0, 200.0, 2.0), (201.0, 1.0, 0.5), []),
    ((-201.0, -200.0, 2.0), (-200.0, 2.0, 1.0), []),
    ((300.0, 0.0, 1000.0), (300.0, 0.0, 0.0), []),
    ((0.0, 300.0, 1000.0), (300.0, 1000.0, 1.0), []),
]


def check() -> None:
    module = engine_seam.module("paged_attention/paged_decode_1_thread_per_head.cu", more=LAUNCHERS)
    for (score, largest, total), after, wrong in CASES:
        before = "-FLT_MAX" if largest == LOWEST else f"{largest:g}"
        state = torch.tensor([largest, total, -1.0])
        with given(f"score {score:g}, largest {before}, total {total:g}"):
            module.grow(score, state)
            note = named(state, wrong) or (DOWN if state[0] < largest else TOO_LARGE if state.isnan().any() else "")
            expect(state, after, "state afterwards (largest, total, what is returned)", tolerance=1e-5, note=note)
