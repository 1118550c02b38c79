"""What a decoder computes between its matrix products: norms, gates, rotary positions, the embedding.

Every function here works on each token alone, reads a row, computes little and writes a row: on a GPU its time is
that of moving the bytes. These are the readable twins of the kernels in `csrc/model_ops/`, which must agree with
them; `yaie.kernels.api` chooses between the two.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from yaie.kernels import radix_attention


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Divide each row by its root mean square, then multiply by a learned weight.

    `y = x / sqrt(mean(x ** 2) + eps) * weight`, the mean over the last dimension. The division is computed in
    float32 and rounded to the dtype of `x` before the weight is applied, as in the checkpoints' own code.

    Args:
        x: `[..., size]`, any floating dtype.
        weight: `[size]`.
        eps: keeps a row of zeros finite.

    Returns:
        The same shape and dtype as `x`.

    Source: Zhang and Sennrich, "Root Mean Square Layer Normalization" (2019).
    """
    wide = x.float()
    scale = torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + eps)
    return (wide * scale).to(x.dtype) * weight


def add_rms_norm(x: Tensor, residual: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Add `x` to the residual stream, in place, and return the norm of the sum: the step between two halves of a block.

    Args:
        x: `[..., size]`, what attention or the MLP says.
        residual: like `x`; holds the sum afterwards, rounded to its dtype.
        weight, eps: as for `rms_norm`, which works on the rounded sum.

    Returns:
        The same shape and dtype as `x`.
    """
    return rms_norm(residual.add_(x), weight, eps)


def silu_mul(gate_up: Tensor) -> Tensor:
    """Let each number of the gate decide how much of its partner in up passes: `silu(gate) * up`.

    `silu(z) = z * sigmoid(z)`. The gate is the first half of each row, up is the second half.

    Args:
        gate_up: `[..., 2 * size]`, from one matrix product that makes both halves.

    Returns:
        `[..., size]`, in the dtype of `gate_up`.

    Source: Shazeer, "GLU Variants Improve Transformer" (2020).
    """
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate) * up


def rope(x: Tensor, cos: Tensor, sin: Tensor) -> None:
    """Turn every head of every token by the angles of the token's position, in place; see `radix_attention.rotate`.

    Args:
        x: `[num_tokens, num_heads, head_dim]`; query and key heads turn alike, so one call takes both.
        cos, sin: `[num_tokens, 1, head_dim / 2]`, from `radix_attention.rope_cos_sin`.
    """
    x.copy_(radix_attention.rotate(x, cos, sin))


def embedding(table: Tensor, token_ids: Tensor) -> Tensor:
    """Row `token_ids[i]` of `table` `[vocab_size, hidden_size]` for every token `i`: `[num_tokens, hidden_size]`."""
    return table[token_ids]
