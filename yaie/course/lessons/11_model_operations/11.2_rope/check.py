from __future__ import annotations

import torch

from yaie.course.expect import expect, given
from yaie.course.language import engine_seam

from ..common import make_numbers


def _rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x.double().chunk(2, dim=-1)
    cos, sin = cos[:, None].double(), sin[:, None].double()
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def check() -> None:
    module = engine_seam.module("model_ops/rope.cu")
    x = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]])
    with given("one token, one head [1, 2, 3, 4], cos = [0, 1], sin = [1, 0]"):
        module.rope_1_pairs(x, torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]]), 1, 1, 4, 4, 0)
        expect(x, torch.tensor([[[-3.0, 2.0, 1.0, 4.0]]]), "x afterwards")
    for tokens, heads, others, head_dim in ((2, 1, 0, 4), (2, 3, 1, 4), (3, 2, 2, 16), (2, 7, 1, 10), (1, 9, 0, 64)):
        x = make_numbers(tokens, heads + others, head_dim)
        angles = torch.arange(tokens * head_dim // 2).view(tokens, -1) * 0.7
        cos, sin = angles.cos(), angles.sin()
        wanted = x.double().clone()
        wanted[:, :heads] = _rotated(x[:, :heads], cos, sin)
        with given(
            f"{tokens} tokens of {heads} heads that turn and {others} that do not, head_dim {head_dim}, "
            "small whole numbers"
        ):
            arguments = (tokens, heads, head_dim, (heads + others) * head_dim, 0)
            got = x.clone()
            module.rope_2_packs(got, cos, sin, *arguments)
            expect(got, wanted, "x afterwards", tolerance=1e-4)
