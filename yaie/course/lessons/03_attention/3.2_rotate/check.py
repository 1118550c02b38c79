from __future__ import annotations

import torch

from yaie.course.expect import given
from yaie.kernels import rope

from ..common import expect_tensor, numbers


def check() -> None:
    quarter, half, none = (0.0, 1.0), (-1.0, 0.0), (1.0, 0.0)  # cos and sin of three angles
    for x, turns, text in (
        ([3.0, 4.0], [quarter], "head [3, 4], a quarter turn"),
        ([3.0, 4.0], [(0.6, 0.8)], "head [3, 4], cos 0.6, sin 0.8"),
        ([1.0, 2.0, 3.0, 4.0], [quarter, none], "head [1, 2, 3, 4], a quarter turn for pair 0, none for pair 1"),
        (
            [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
            [none, half, quarter],
            "head [1, 2, 3, 4, 5, 6], no, a half and a quarter turn",
        ),
        ([1000.25, 2.0], [quarter], "head [1000.25, 2], a quarter turn"),  # no 16-bit numbers
    ):
        _check_rotation(torch.tensor([[x]]), torch.tensor([turns]), text)
    x = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.0], [3.0, 4.0]]])
    turns = torch.tensor([[none], [quarter]])
    _check_rotation(x, turns, "2 tokens with the heads [1, 2] and [3, 4]; no turn, a quarter turn")
    for seed, (num_tokens, num_heads, head_dim) in enumerate(((3, 2, 8), (5, 1, 80))):
        angles = torch.arange(num_tokens * head_dim // 2).view(num_tokens, -1) * 0.37
        turns = torch.stack((angles.cos(), angles.sin()), dim=-1)
        text = f"{num_tokens} tokens, {num_heads} heads, head_dim {head_dim}, angles of all sizes"
        _check_rotation(numbers(num_tokens, num_heads, head_dim, seed=seed), turns, text)
    x = torch.tensor([[[1.0, 2.0]]], dtype=torch.float16)
    _check_rotation(x, torch.tensor([[quarter]]), "head [1, 2] in float16, a quarter turn")
    x = torch.tensor([[[3.0, 4.0]]], dtype=torch.bfloat16)
    _check_rotation(x, torch.tensor([[quarter]]), "head [3, 4] in bfloat16, a quarter turn")
    # In float16 cos is 0.60009765625 and sin 0.7998046875: rounded before, the first number is 0.602 at best.
    x = torch.tensor([[[9.0, 6.0]]], dtype=torch.float16)
    _check_rotation(x, torch.tensor([[(0.6, 0.8)]]), "head [9, 6] in float16, cos 0.6, sin 0.8 (these in float32)")


def _check_rotation(x: torch.Tensor, turns: torch.Tensor, text: str) -> None:
    """x `[num_tokens, num_heads, head_dim]`; turns `[num_tokens, head_dim / 2, 2]`, cosine and sine of each pair."""
    expected = x.clone()
    pairs = x.shape[-1] // 2
    for token, head, i in torch.cartesian_prod(*map(torch.arange, (*x.shape[:2], pairs))).tolist():
        a, b = x[token, head, i].item(), x[token, head, i + pairs].item()
        turned = complex(a, b) * complex(*turns[token, i].tolist())
        expected[token, head, i], expected[token, head, i + pairs] = turned.real, turned.imag
    cos, sin, before = turns[:, None, :, 0], turns[:, None, :, 1], x.clone()
    with given(f"rotate(x, cos, sin): {text}"):
        expect_tensor(rope.rotate(x, cos, sin), expected, "rotated x", x.dtype)
        expect_tensor(x, before, "argument `x` after the call, which should be as before,", x.dtype)
    if len(x) > 1:
        with given(f"rotate(x[None], cos[None], sin[None]): {text}, with one more axis in front"):
            expect_tensor(rope.rotate(x[None], cos[None], sin[None]), expected[None], "rotated x", x.dtype)
        with given(f"rotate(x[-1], cos[-1], sin[-1]): the last token alone of {text}"):
            expect_tensor(rope.rotate(x[-1], cos[-1], sin[-1]), expected[-1], "rotated x", x.dtype)
