"""What a decoder computes between its matrix products, apart from rotary positions (`rope`): norms and gates.

Every function here works on each token alone, reads a row, computes little and writes a row: on a GPU its time is that
of moving the bytes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """`y = x / sqrt(mean(x ** 2) + eps) * weight`, the mean over the last dimension; in the shape and dtype of `x`.

    The division is computed in float32 and rounded to the dtype of `x` before the weight is applied, as in the
    checkpoints' own code. Source: Zhang and Sennrich, "Root Mean Square Layer Normalization" (2019).
    """
    wide = x.float()
    scale = torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + eps)
    return (wide * scale).to(x.dtype) * weight


def silu_mul(gate_up: Tensor) -> Tensor:
    """`silu(gate) * up` with `silu(z) = z * sigmoid(z)`: the gate decides how much of its partner in up passes.

    `[..., 2 * size]`, first the gates, then up, to `[..., size]`. Source: Shazeer, "GLU Variants Improve Transformer".
    """
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate).mul_(up)
