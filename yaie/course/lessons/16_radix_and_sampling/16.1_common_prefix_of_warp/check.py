from __future__ import annotations

from pathlib import Path

import torch

from yaie.course.expect import expect, expect_lanes, expect_sectors, given
from yaie.course.language import engine_seam

LAUNCHERS = Path(__file__).with_suffix(".cu")
CASES: tuple[tuple[list[int], list[int]], ...] = (
    ([5, 6, 7, 8], [5, 6, 9, 8]),
    ([5, 6, 7], [5, 6, 7]),
    ([5], [6]),
    ([5, 6, 7, 8, 9], [5, 0, 7, 0, 9]),
    ([], []),
    ([1, 2**32 + 2], [1, 2]),
)
LONG = (  # count, the places that differ
    (40, ()),
    (40, (35, 38)),
    (31, (30,)),
    (32, (31,)),
    (32, ()),
    (33, (32,)),
    (100, (3, 40, 99)),
    (100, (64, 65)),
    (100, ()),
)


def check() -> None:
    module = engine_seam.module("radix_ops/match_prefixes.cu", more=LAUNCHERS)
    for a, b in CASES:
        same = next((i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y), len(a))
        with given(f"a = {a}, b = {b}, count = {len(a)}"):
            _expect(module, torch.tensor([a], dtype=torch.int64), torch.tensor([b], dtype=torch.int64), [same])
    for count, places in LONG:
        a, b = torch.arange(count), torch.arange(count)
        b[list(places)] = -1
        which = f"of which {' and '.join(map(str, places))} differ" if places else "all equal"
        with given(f"{count} tokens, {which}"):
            _expect(module, a[None], b[None], [min(places, default=count)])
    tokens = torch.arange(64).reshape(2, 32)
    other = tokens.clone()
    other[:, [7, 25]] = torch.tensor([[7, -1], [-1, -1]])
    with given("two warps; warp 0 with count 20 and equal tokens, warp 1 with count 32, of which 7 and 25 differ"):
        _expect(module, tokens, other, [20, 7], [20, 32])
    tokens = torch.arange(256)[None]
    with given("profile of 256 tokens that are all equal"):
        _expect(module, tokens, tokens.clone(), [256])
        profile = module.profile()
        expect_sectors(profile, 8, note="Neighbouring lanes compare neighbouring tokens of 8 bytes.")
        expect_lanes(profile, 512, operation="load", note="Each of the 512 tokens is compared by one lane.")


def _expect(module, a: torch.Tensor, b: torch.Tensor, wanted: list[int], counts: list[int] | None = None) -> None:
    """What the lanes of each warp answer; without `counts` the rows are as long as they are."""
    warps, length = a.shape
    answers = torch.full((warps, 32), -1)
    first, second = counts or [length, 0]
    module.common_prefix_alone(a, b, first, second, answers, length, warps)
    for warp, answer in enumerate(wanted):
        of_warp = f", warp {warp}" if warps > 1 else ""
        count = (counts or [length] * warps)[warp]
        note = _note(answers[warp, 0].item(), answer, (a[warp] == b[warp])[:count].tolist())
        expect(answers[warp, 0].item(), answer, f"answer of lane 0{of_warp}", note=note)
        expect(answers[warp], torch.full((32,), answer), f"answer of each lane{of_warp}")


def _note(got: int, wanted: int, same: list[bool]) -> str:
    """What the answer counts instead, where it is one of these."""
    differ = [i for i, equal in enumerate(same) if not equal]
    agree = [i for i, equal in enumerate(same) if equal]
    facts = {
        f"There are {len(same)} tokens to compare: no answer is larger.": got > len(same),
        f"All tokens agree: the answer is their number, {wanted}.": not differ and got < wanted - 1,
        f"That is `count`: the difference at token {wanted} was not found.": bool(differ) and got == len(same),
        f"The first {wanted} tokens agree, and token {wanted} does not.": bool(differ) and got < wanted - 1,
        "The answer is one too small.": got == wanted - 1,
        "The answer is one too large.": got == wanted + 1,
        "That is how many tokens agree, those after a difference too.": got == len(agree) != wanted,
        "That is the last token that differs. Look for the first.": got in differ[1:][-1:],
        "That is a later token that differs. Look for the first.": got in differ[1:-1],
    }
    said = [fact for fact, true in facts.items() if true]
    return said[0] if len(said) == 1 else ""
