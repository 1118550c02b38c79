from __future__ import annotations

from typing import Any

import torch
from torch import nn

from yaie.course.expect import expect, given
from yaie.kernels.ops import TorchOperations
from yaie.models import llama
from yaie.models.config import ModelConfig

from ..common import norm_by_formula, random_numbers, silu_mul_by_formula


class _Exchange(nn.Module):
    """Stands for attention in the small cases, so that the numbers can be followed by hand."""

    def forward(self, x: torch.Tensor, *rest: Any) -> torch.Tensor:
        return 10 * x.flip(-1)


class _Watched(TorchOperations):
    """Notes what a block asks for, rope apart, which attention asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def rms_norm(self, x, weight, eps, residual=None):  # a norm without one is told why it does not pass
        if isinstance(eps, torch.Tensor):
            raise TypeError("rms_norm(x, weight, eps, residual) was given a tensor for eps")
        self.asked.append(f"rms_norm {'without' if residual is None else 'with'} residual")
        return super().rms_norm(x, weight, eps, residual)

    def silu_mul(self, gate_up):
        self.asked.append("silu_mul")
        return super().silu_mul(gate_up)


def _block(hidden_size: int, intermediate_size: int, seed: int, eps: float = 1e-5) -> llama.DecoderBlock:
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
        rms_norm_eps=eps,
    )
    block = llama.DecoderBlock(config).requires_grad_(False)
    for i, parameter in enumerate(block.parameters()):
        parameter.copy_(random_numbers(*parameter.shape, seed=seed + i) / 2)
    return block


def _compare(block: llama.DecoderBlock, change: torch.Tensor, residual: torch.Tensor, *for_attention: Any) -> None:
    """The block against the formula in float64, but for the attention module, which is called as it is."""
    operations = _Watched()
    stream = residual.double() + change.double()
    normed = norm_by_formula(stream, block.input_norm, block.eps).float()
    stream = stream + block.attention(normed, *for_attention, operations).double()
    normed = norm_by_formula(stream, block.post_attention_norm, block.eps).float()
    found = block.down_proj(silu_mul_by_formula(block.gate_up_proj(normed)))
    got = block(change, residual, *for_attention, operations)
    results, right = {"result": got, "residual": residual}, {"result": found, "residual": stream}
    expect(results, right, "result (the output of the MLP) or `residual` afterwards", tolerance=1e-3)
    expected = ["rms_norm with residual", "rms_norm with residual", "silu_mul"]
    expect(operations.asked, expected, "list of what was asked of `operations`")


def check() -> None:
    block = _block(2, 2, seed=0)
    block.attention = _Exchange()
    block.input_norm.copy_(torch.tensor([1.0, 1.0]))
    block.post_attention_norm.copy_(torch.tensor([2.0, 1.0]))
    for stream, changes in (([[0.0, 5.0]], [[1.0, 2.0]]), ([[1.0, -4.0], [0.5, 0.0]], [[2.0, 0.0], [0.0, 3.0]])):
        with given(
            f"block(torch.tensor({changes}), residual, cos, sin, attend, operations), residual = "
            f"torch.tensor({stream}), where attention exchanges the two numbers and multiplies them by 10, "
            "input_norm is [1, 1] and post_attention_norm is [2, 1]"
        ):
            _compare(block, torch.tensor(changes), torch.tensor(stream), None, None, None)
    operations = TorchOperations()
    for num_tokens, hidden_size, intermediate_size in ((1, 8, 12), (5, 8, 20), (17, 24, 33)):
        block = _block(hidden_size, intermediate_size, seed=num_tokens, eps=0.25)
        change, residual = (random_numbers(num_tokens, hidden_size, seed=seed) for seed in (9, 10))
        cos, sin = torch.full((num_tokens, 1, 2), 0.6), torch.full((num_tokens, 1, 2), 0.8)

        def attend(*heads: Any) -> torch.Tensor:
            query, key, value = operations.split_heads(1, *heads)
            return query + (key + value).expand_as(query)

        with given(
            f"block(random [{num_tokens}, {hidden_size}], random residual, cos, sin, attend, operations), with random "
            "weights and self.eps = 0.25"
        ):
            _compare(block, change, residual, cos, sin, attend)
