from __future__ import annotations

from pathlib import Path

import torch

from yaie.course.expect import Mismatch, expect, given
from yaie.course.language import engine_seam

LAUNCHERS = Path(__file__).with_suffix(".cu")
LANE_0 = "Only lane 0 has the sum. All lanes go on with the score, so all need it."
TURNS = "Each lane reads the elements of its own part of the query, and reads them once."


def check() -> None:
    module = engine_seam.module("paged_attention/paged_decode_2_warp_per_head.cu", more=LAUNCHERS)
    for head_dim in (40, 8, 16, 24, 32, 128, 256):
        number = torch.arange(head_dim)
        ones = torch.ones(4, head_dim)
        query, steps = ones * (number + 1) / 8, 0.25 * (number % 7 + torch.arange(1, 5)[:, None])
        cases = [("ones", "ones", ones, ones)]
        cases += [("1/8, 2/8, ...", f"zeros with a 1 at {e}", query, (number == e) * ones) for e in _places(head_dim)]
        cases += [("1/8, 2/8, ...", "quarters that differ by warp", query, steps)]
        for of_query, of_key, queries, keys in cases:
            results = torch.full((128,), -1.0)
            with given(f"head_dim {head_dim}, query of {of_query}, key of {of_key}"):
                profile = module.profile("warp_dots", queries.contiguous(), keys.clone(), head_dim, results)
                wanted = (queries * keys).sum(1, keepdim=True).expand(4, 32)
                lanes, tolerance = results.view(4, 32), 1e-5 * float(wanted.abs().max())
                right = (lanes - wanted).abs() <= tolerance
                note = LANE_0 if right[:, 0].all() and not right[:, 1:].any() else ""
                note = note or _of_groups(lanes, queries, keys, tolerance)
                expect(lanes, wanted, "dot product in each lane of the four warps", tolerance=tolerance, note=note)
    with given("profile with head_dim 256: what the first warp reads of its key"):
        reads = [step for step in profile.trace if step.array == "keys"]
        elements = sum(len(step.lanes) for step in reads)
        if len(reads) > 8 or elements > 256:
            headline = "The result is right, but the lanes do not share the elements of the key."
            got = f"{elements} elements, in {len(reads)} reads of the warp"
            raise Mismatch("reads", got, "256 elements, in 8 reads of 32", "", TURNS, headline)


def _of_groups(lanes: torch.Tensor, queries: torch.Tensor, keys: torch.Tensor, tolerance: float) -> str:
    """What the lanes hold, where it is a sum over a part of the warp or of something else than products."""
    count = queries.shape[1]
    if (lanes - (queries + keys).sum(1, keepdim=True)).abs().max() <= tolerance:
        return "Query and key were added, not multiplied."
    first = torch.nn.functional.pad(queries, (0, 32))[:, torch.arange(count) % 32]
    if (lanes - (first * keys).sum(1, keepdim=True)).abs().max() <= tolerance:
        return "Each lane multiplies all of its elements with the first of its query."
    products = torch.nn.functional.pad(queries * keys, (0, -count % 32)).view(4, -1, 32).sum(1)
    for size in (1, 2, 4, 8, 16):
        if (lanes - products[:, :size].sum(1, keepdim=True)).abs().max() <= tolerance:
            return f"Only the first {size} lanes were added up, not all 32."
        together = products.view(4, -1, size).sum(2).repeat_interleave(size, 1)
        apart = products.view(4, size, -1).sum(1).repeat(1, size)
        for sums, which in ((together, f"the {size} lanes of its part of the warp"), (apart, f"{size} lanes")):
            if (lanes - sums).abs().max() <= tolerance:
                return f"Each lane has the sum of {which} only, not of all 32."
    return ""


def _places(head_dim: int) -> list[int]:
    return sorted({0, 7, head_dim // 2 + 1, head_dim - 1})
