"""Rotary positions (RoPE): every head of a token is turned by angles that grow with the token's position.

Source: Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding" (2021). Angles are float32 at least,
whatever the dtype of the inputs: half precision cannot tell neighbouring positions apart.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from yaie.kernels import checks
from yaie.kernels.checks import require

# The kinds of scaling and the entries that each needs in `rope_scaling`. Sources: `llama3` from the Llama 3.1 release;
# `dynamic` (NTK-aware) scales texts that are longer than those of training, where the engine ends: here it is nothing.
SCALINGS = {
    "default": (),
    "linear": ("factor",),
    "dynamic": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}


def rope_inv_freq(head_dim: int, theta: float = 10000.0, scaling: Mapping | None = None) -> Tensor:
    """Inverse frequencies in radians per position, `[head_dim / 2]`, float32, for texts no longer than in training.

    `scaling` is `rope_scaling` (or `rope_parameters`) of a Hugging Face configuration. ValueError: an odd head_dim; a
    type, or an entry of `scaling`, that this function does not implement.
    """
    pairs = checks.is_integer(head_dim) and 0 < head_dim <= 65536 and head_dim % 2 == 0
    require(pairs, "RoPE rotates pairs of numbers: head_dim must be even, positive and at most 65536", head_dim)
    require(isinstance(scaling, Mapping | None), "scaling must be a mapping or None", scaling)
    scaling = dict(scaling or {})
    kinds = [scaling.pop(name) for name in ("rope_type", "type") if name in scaling]
    kind = kinds.pop() if kinds else "default"
    known = kinds in ([], [kind]) and isinstance(kind, str) and kind in SCALINGS
    require(known, f"rope_type {kind!r} is not supported; supported: {', '.join(SCALINGS)}")
    require(scaling.pop("rope_theta", theta) == theta, f"scaling has another rope_theta than theta={theta}")
    require(set(scaling) == set(SCALINGS[kind]), f"rope_type {kind!r} needs entries {SCALINGS[kind]}", list(scaling))
    for name, value in {"theta": theta, **scaling}.items():
        require(checks.is_number(value) and value > 0, f"{name} must be a finite number above 0", value)
    inv_freq = 1.0 / theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    if kind == "linear":
        return inv_freq / scaling["factor"]
    if kind == "llama3":
        # Long waves are slowed down by `factor`, short ones kept, those in between blended.
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        require(low < high, f"scaling must have low_freq_factor < high_freq_factor, got {low} and {high}")
        waves_in_context = scaling["original_max_position_embeddings"] * inv_freq / (2 * math.pi)
        keep = ((waves_in_context - low) / (high - low)).clamp(0, 1)
        return (1 - keep) * inv_freq / scaling["factor"] + keep * inv_freq
    return inv_freq


def rope_cos_sin(positions: Tensor, inv_freq: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of every angle: pair `i` of a head at position `p` turns by `p * inv_freq[i]`.

    `positions` `[...]` are integers; both results are `[..., 1, head_dim / 2]` in the dtype of `inv_freq`, where the 1
    stands for the heads, which all turn alike.
    """
    angles = positions.to(inv_freq.dtype).unsqueeze(-1).unsqueeze(-1) * inv_freq
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn every pair of numbers of every head by its angle: `(a, b)` becomes `(a cos - b sin, b cos + a sin)`.

    Pair `i` is `(x[..., i], x[..., i + head_dim / 2])`, as in Hugging Face checkpoints (not neighbours `2i`, `2i + 1`).
    `x` is `[..., num_heads, head_dim]`; the result is like it, computed in the precision of `cos` and `sin`, which come
    from `rope_cos_sin`.
    """
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(x.dtype)


def rotate_in_place(x: Tensor, cos: Tensor, sin: Tensor) -> None:
    """`rotate` for an `x` in the dtype of `cos`, written over `x`, in fewer calls."""
    first, second = x.chunk(2, dim=-1)
    across = first * sin
    first.mul_(cos).addcmul_(second, sin, value=-1)
    second.mul_(cos).add_(across)
