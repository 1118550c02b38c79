"""The decoder as kernels want it: the same function as `Llama`'s blocks, cut at other places.

A block of `yaie.models.llama` reads as the formulas do and runs on torch's own operations. Here the same weights go
through the operations of a backend (`yaie.kernels.api`), each of which is one kernel:

    block                                    here
    hidden = hidden + attention(...)         rms_norm with `residual`: adds, and normalises the sum while it has it
    normed = rms_norm(hidden, ...)
    query, key = rotate(...)                 rope, in place, on the columns of the projection that hold query and key
    silu(gate) * up                          silu_mul, on the output of one matrix product

Matrix products stay torch's. That both give the same tokens is tested in
`tests/engine/test_optimisation_changes_nothing.py`.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from yaie.kernels import api, radix_attention
from yaie.models.config import ModelConfig


def run(model, operations: api.Unchecked, token_ids: Tensor, positions: Tensor, attend: Callable) -> Tensor:
    """Through all layers: token ids and positions `[num_tokens]` to hidden states `[num_tokens, hidden_size]`.

    `attend(layer, query, key, value)` stores keys and values and returns the attention output, as in `Llama.forward`.
    """
    config: ModelConfig = model.config
    eps, head_dim, num_heads = config.rms_norm_eps, config.head_dim, config.num_heads
    num_rotated = num_heads + config.num_kv_heads
    cos, sin = radix_attention.rope_cos_sin(positions, model.inv_freq_on(positions.device))
    residual = operations.embedding(model.embed_tokens.weight, token_ids)
    change = None  # what the half before said, not added to the residual stream yet
    for layer, block in enumerate(model.layers):
        normed = _normed(operations, change, residual, block.input_norm, eps)
        attention = block.attention
        projected = attention.qkv_proj(normed).view(len(normed), -1, head_dim)
        query_key, value = projected[:, :num_rotated], projected[:, num_rotated:]
        query, key = query_key[:, :num_heads], query_key[:, num_heads:]
        if attention.q_norm is None:
            operations.rope(query_key, cos, sin)  # both with one launch
        else:
            query = operations.rms_norm(query, attention.q_norm, eps, None)
            key = operations.rms_norm(key, attention.k_norm, eps, None)
            operations.rope(query, cos, sin)
            operations.rope(key, cos, sin)
        attended = attend(layer, query, key, value)
        change = attention.o_proj(attended.flatten(1))
        normed = _normed(operations, change, residual, block.post_attention_norm, eps)
        change = block.down_proj(operations.silu_mul(block.gate_up_proj(normed)))
    return _normed(operations, change, residual, model.norm, eps)


def _normed(operations: api.Unchecked, change: Tensor | None, residual: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Add `change` to the residual stream, in place, and return the norm of the sum. At the start nothing is added."""
    if change is None:
        return operations.rms_norm(residual, weight, eps, None)
    return operations.rms_norm(change, weight, eps, residual)
