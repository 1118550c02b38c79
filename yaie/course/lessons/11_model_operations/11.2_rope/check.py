from __future__ import annotations

import torch

from yaie.course.expect import expect, expect_lanes, given, named
from yaie.course.language import engine_seam
from yaie.kernels.ops.launching import DTYPES

from ..common import make_numbers

# The head [1, 2, 3, 4], with cos = [0, 1] and sin = [1, 0], turned wrongly.
WRONG = [
    ([-2, 1, 3, 4], "Neighbours were paired. Number i of the first half and number i of the second are a pair."),
    ([3, 2, -1, 4], "The pairs turn the other way round: a cos - b sin, and b cos + a sin."),
    ([-3, 2, -1, 4], "The second number of a pair becomes b cos + a sin, with a plus."),
    ([-3, 2, -3, 4], "a was overwritten before b was computed from it."),
    ([1, -4, 3, 2], "cos and sin are swapped."),
    ([-3, 2, 3, 4], "The second half was not written back."),
]


def _rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x.double().chunk(2, dim=-1)
    cos, sin = cos[:, None].double(), sin[:, None].double()
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def check() -> int:
    module = engine_seam.module("model_ops/rope.cu")
    x = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]])
    with given("one token, one head [1, 2, 3, 4], cos = [0, 1], sin = [1, 0]"):
        module.rope_1_pairs(x, torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]]), 1, 1, 4, 4, 0)
        note = named(x.flatten(), WRONG)
        expect(x, torch.tensor([[[-3.0, 2.0, 1.0, 4.0]]]), "x afterwards", note=note)
    for tokens, heads, others, head_dim in ((2, 1, 0, 4), (2, 3, 1, 4), (3, 2, 2, 16), (2, 7, 1, 10), (1, 40, 0, 64)):
        x = make_numbers(tokens, heads + others, head_dim)
        angles = torch.arange(tokens * head_dim // 2).view(tokens, -1) * 0.7
        cos, sin = angles.cos(), angles.sin()
        wanted = x.double().clone()
        wanted[:, :heads] = _rotated(x[:, :heads], cos, sin)
        with given(
            f"{tokens} tokens of {heads} rotated and {others} other heads, head_dim {head_dim}, small whole numbers"
        ):
            arguments = (tokens, heads, head_dim, (heads + others) * head_dim, 0)
            got = x.clone()
            module.rope_2_packs(got, cos, sin, *arguments)
            expect(got, wanted, "x afterwards", tolerance=1e-4, axes="token head element")
    x = torch.tensor([[[1000.0, 1000.0]]]).half()
    with given("one token, one head [1000, 1000] of float16, cos = [0.7002], sin = [0.7]"):
        module.rope_1_pairs(x, torch.tensor([[0.7002]]), torch.tensor([[0.7]]), 1, 1, 2, 2, DTYPES[x.dtype])
        note = "Compute in float." if x[0, 0, 1] == 1400 else ""
        expect(x, torch.tensor([[[0.2, 1400.0]]]), "x afterwards", tolerance=1e-3, note=note)
    x, angles = make_numbers(2, 4, 64), torch.ones(2, 32)
    with given("profile of rope_1_pairs, 2 tokens of 4 heads of 64"):
        profile = module.profile("rope_1_pairs", x, angles, angles.clone(), 2, 4, 64, 256, 0)
        expect_lanes(profile, 2 * 4 * 64, note="The threads of a thread block share the pairs of its token.")
        stores = [step for step in profile.trace if step.operation == "store"]
        tokens = sorted({place // 256 for step in stores for place in step.elements})
        expect(tokens, [0], "tokens that thread block 0 turns")
    with given("profile of rope_2_packs, 2 tokens of 4 heads of 64"):
        profile = module.profile("rope_2_packs", x, angles, angles.clone(), 2, 4, 64, 256, 0)
        return sum(line.sectors for line in profile.lines)
