from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch

from yaie.course.expect import expect, given, named

from ..common import TILES, attend, keys_of, marks, module, unit_query

LAUNCHERS = Path(__file__).with_suffix(".cu")
NONE, LARGE = -math.inf, 1e6
SMALL = "A weight may be small, and is what it is: exp(score - row.most)."
CASES = (
    # the scores of the row so far; those of the tile, which is filled up with -inf. All in units of ln 2
    ((), (0,)),
    ((), (2, 1)),
    ((1, 0), (2, 2)),
    ((2, 0), (1, 1)),
    ((1, 0), (1,)),
    ((3,), ()),
    ((), ()),
    ((), (-2, -1)),
    ((-300, -301), (-302, -301)),
    ((200,), (201, 199)),
    ((0,), (*[0] * 31, 1)),
    ((), (0, -60)),
    ((), (-(2.0**90),)),
)


def check() -> None:
    for before, tile in CASES:
        second = "warp 1 has the scores plus 1, from its last lane on"
        with given(f"a row that has seen {_listed(before)}, a tile with {_listed(tile)}; in units of ln 2; {second}"):
            _check_alone(before, tile)
    zeros = [0.0] * 32
    for scores in ([*zeros, 1.0], [3.0, *zeros, 1.0, 2.0], [*zeros, 2.0, *zeros[1:], 3.0, 1.0]):
        head_dim = -(-len(scores) // 8) * 8
        with given(f"flash attention with the scores {_listed(scores)}: a score of s weighs 2^s; tiles of 32 keys"):
            query, key, value = unit_query(1, head_dim), keys_of(scores, head_dim), marks(len(scores), head_dim)
            out = attend(TILES, query, key, value, more=LAUNCHERS)
            wanted = torch.softmax(torch.tensor(scores, dtype=torch.float64) * math.log(2), 0).float()
            expect(out[0, 0, : len(scores)], wanted, "weight of each key", tolerance=1e-5)


def _check_alone(before: Sequence[float], tile: Sequence[float]) -> None:
    """A tile after a row that has seen `before`; beside it a second warp with another row, the scores one higher."""
    scores = torch.tensor([*tile, *[NONE] * (32 - len(tile))])
    scores = torch.stack([scores, scores.flip(0) + 1])
    old = max(before, default=NONE)
    most = torch.tensor([old, old + 1])
    total = torch.full((2,), float(sum(2 ** (score - old) for score in before)))
    after = [torch.full((2, 32), math.nan) for _ in range(4)]
    ln2 = math.log(2)
    module(TILES, LAUNCHERS).take_scores_alone(scores * ln2, most * ln2, total, *after, 2)
    new = max((old, *tile))
    weights = torch.zeros(2, 32) if new == NONE else torch.exp2(scores - torch.tensor([[new], [new + 1]]))
    shrink = 2.0 ** (old - new) if before else 1.0
    got_most, got_sum, rescale, got_weights = after
    for row in (0, 1):
        sums = (total[row] * shrink + weights[row].sum()).item()
        what = f"weight of each lane of warp {row}"
        note = named(got_weights[row], _wrong_weights(weights[row], shrink, float(new + row), scores[row]))
        expect(got_weights[row], weights[row], what, tolerance=1e-5, note=note)
        small = weights[row] > 0
        share = got_weights[row][small] / weights[row][small]
        expect(share, torch.ones_like(share), f"{what}, divided by the right one", tolerance=1e-3, note=SMALL)
        _expect_in_all_lanes(got_most[row] / ln2, float(new + row), f"row.most, warp {row}")
        note = named(got_sum[row][0].item(), _wrong_sums(total[row].item(), shrink, weights[row], scores[row] * ln2))
        _expect_in_all_lanes(got_sum[row], sums, f"row.sum, warp {row}", note)
        if before:
            _expect_in_all_lanes(rescale[row], shrink, f"rescale, warp {row}")
        else:  # any number will do
            _expect_in_all_lanes(rescale[row] * 0, 0.0, f"rescale times 0, as nothing was added up before, warp {row}")


def _wrong_weights(weights: torch.Tensor, shrink: float, new: float, scores: torch.Tensor) -> list[tuple[list, str]]:
    """What some mistakes make of the weights, where that is not right."""
    two = torch.exp2((scores - new) * math.log(2)).nan_to_num(0.0)
    wrong = [
        (weights * shrink, "`rescale` is for what was added up before: the weight is not multiplied by it."),
        (two, "A weight is a power of e, not of 2: `expf`."),
    ]
    return [(each.tolist(), message) for each, message in wrong if not torch.allclose(each, weights, atol=2e-3)]


def _wrong_sums(old: float, shrink: float, weights: torch.Tensor, scores: torch.Tensor) -> list[tuple[float, str]]:
    """What some mistakes make of the sum, where that is not the right one."""
    new = weights.sum().item()
    wrong = [
        (old + shrink * new, "`rescale` multiplies the old sum, not the new weights."),
        (old * shrink + scores.sum().item(), "The scores were added up, not their weights."),
        (old * shrink + new / 32, "The weights were divided by their number. They are added up."),
        (old * shrink + 1, "Only the largest weight was added."),
        (old * shrink, "The weights of this tile are not in the sum."),
        (32 * (old * shrink + new), "The sum was taken over the lanes twice: all lanes have the same `row.sum`."),
        (32 * old * shrink + new, "The old sum was added up over the lanes, too: all lanes have the same `row.sum`."),
        (old / shrink + new if shrink else math.nan, "The old sum was divided by `rescale`."),
    ]
    right = old * shrink + new
    return [(sum, message) for sum, message in wrong if not math.isclose(sum, right, rel_tol=1e-3, abs_tol=2e-3)]


def _expect_in_all_lanes(got: torch.Tensor, wanted: float, what: str, note: str = "") -> None:
    tolerance = 1e-4 * abs(wanted) if LARGE < abs(wanted) < math.inf else 1e-4
    expect(got[0].item(), wanted, what, tolerance=tolerance, note=note)
    expect(got, torch.full((32,), wanted), f"{what}, lane by lane", tolerance=tolerance)


def _listed(scores: Sequence[float]) -> str:
    """The scores, with repetitions counted: "32 times 0, 1"."""
    parts: list[tuple[float, int]] = []
    for score in scores:
        if parts and parts[-1][0] == score:
            parts[-1] = (score, parts[-1][1] + 1)
        else:
            parts.append((score, 1))
    texts = (f"{count} times {score:g}" if count > 1 else f"{score:g}" for score, count in parts)
    return ", ".join(texts) or "no key that it may see"
