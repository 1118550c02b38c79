from __future__ import annotations

from typing import Any

import torch
from torch import nn

from yaie.course.expect import expect, given
from yaie.models import llama
from yaie.models.config import ModelConfig

from ..common import norm_by_formula, random_numbers, silu_mul_by_formula


class _Exchange(nn.Module):
    """Stands for attention in the small cases, so that the numbers can be followed by hand."""

    def forward(self, x: torch.Tensor, cos: Any, sin: Any, attend: Any) -> torch.Tensor:
        return 10 * x.flip(-1)


def _block(hidden_size: int, intermediate_size: int, seed: int) -> llama.DecoderBlock:
    """A block with random weights, those of the norms included."""
    config = ModelConfig(
        vocab_size=11,
        hidden_size=hidden_size,
        intermediate_size=intermediate_size,
        num_layers=1,
        num_heads=2,
        num_kv_heads=1,
        head_dim=4,
        max_position_embeddings=64,
        rms_norm_eps=1e-5,
    )
    block = llama.DecoderBlock(config).requires_grad_(False)
    for i, parameter in enumerate(block.parameters()):
        parameter.copy_(random_numbers(*parameter.shape, seed=seed + i) / 2)
    return block


def _block_by_formula(block: llama.DecoderBlock, hidden: torch.Tensor, *for_attention: Any) -> torch.Tensor:
    """The block in float64, but for the attention module, which is called as it is."""
    normed = norm_by_formula(hidden, block.input_norm, block.eps).float()
    middle = hidden.double() + block.attention(normed, *for_attention).double()
    normed = norm_by_formula(middle, block.post_attention_norm, block.eps).float()
    return middle + block.down_proj(silu_mul_by_formula(block.gate_up_proj(normed))).double()


def check() -> None:
    block = _block(2, 2, seed=0)
    block.attention = _Exchange()
    block.input_norm.copy_(torch.tensor([1.0, 1.0]))
    block.post_attention_norm.copy_(torch.tensor([2.0, 1.0]))
    for rows in ([[1.0, 7.0]], [[3.0, -4.0], [0.5, 0.0]]):
        hidden = torch.tensor(rows)
        expected = _block_by_formula(block, hidden, None, None, None)
        with given(
            f"block(torch.tensor({rows}), cos, sin, attend), where attention exchanges the two numbers and multiplies "
            "them by 10, input_norm is [1, 1] and post_attention_norm is [2, 1]"
        ):
            got = block(hidden, None, None, None)
            expect(got, expected, "hidden state", tolerance=1e-3)
    for num_tokens, hidden_size, intermediate_size in ((1, 8, 12), (5, 8, 20), (17, 24, 33)):
        block = _block(hidden_size, intermediate_size, seed=num_tokens)
        hidden = random_numbers(num_tokens, hidden_size, seed=9)
        cos, sin = torch.full((num_tokens, 1, 2), 0.6), torch.full((num_tokens, 1, 2), 0.8)

        def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
            return query + (key + value).expand_as(query)

        expected = _block_by_formula(block, hidden, cos, sin, attend)
        with given(f"block(random [{num_tokens}, {hidden_size}], cos, sin, attend), with random weights"):
            expect(block(hidden, cos, sin, attend), expected, "hidden state", tolerance=1e-3)
