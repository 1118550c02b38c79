"""Exercises of lesson 05: A tiny Llama.

Each function below belongs to the engine; its body has been taken out. Write it, save the file, check it:
`yaie.exercise("5.1").check()` in the notebook, or `yaie check 5.1` in a terminal.
Functions that you have not written yet are filled in with the engine's own, so any order works.
"""
# generated, text hash f38040270166825d

from __future__ import annotations

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor

from yaie.kernels.model_ops import rms_norm
from yaie.models import llama
from yaie.models.llama import Attend, Llama, swiglu


# ---------- Exercise 5.1: RMSNorm (about 10 minutes) ----------
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
    raise NotImplementedError("exercise 5.1: write this function")


# ---------- Exercise 5.2: SwiGLU (about 10 minutes) ----------
def silu_mul(gate_up: Tensor) -> Tensor:
    """Let each number of the gate decide how much of its partner in up passes: `silu(gate) * up`.

    `silu(z) = z * sigmoid(z)`. The gate is the first half of each row, up is the second half.

    Args:
        gate_up: `[..., 2 * size]`, from one matrix product that makes both halves.

    Returns:
        `[..., size]`, in the dtype of `gate_up`.

    Source: Shazeer, "GLU Variants Improve Transformer" (2020).
    """
    raise NotImplementedError("exercise 5.2: write this function")


class DecoderBlock(llama.DecoderBlock):
    """The engine's `DecoderBlock`. The methods below replace its own; everything else is inherited."""

    # ---------- Exercise 5.3: The decoder block (about 15 minutes) ----------
    def forward(self, hidden: Tensor, cos: Tensor, sin: Tensor, attend: Attend) -> Tensor:
        """Add to each token's hidden state what attention says, then what the MLP says.

        Each half works on a normalised copy (`rms_norm`, with `input_norm` before attention and
        `post_attention_norm` before the MLP, and `self.eps`) and its result is added to the hidden state itself,
        which is never normalised: this residual stream is how a layer passes on what it does not change.

        Args:
            hidden: `[num_tokens, hidden_size]`.
            cos, sin: rotation of each token's position, for `self.attention`.
            attend: for `self.attention`; computes attention over the keys that each token may see.

        Returns:
            `[num_tokens, hidden_size]`. The MLP is `swiglu` with `self.gate_up_proj` and `self.down_proj`.
        """
        raise NotImplementedError("exercise 5.3: write this function")


# ---------- Exercise 5.4: Generate with a cache (about 20 minutes) ----------
def generate_greedy(
    model: Llama, token_ids: list[int], max_new_tokens: int, stop_token_ids: Collection[int] = ()
) -> list[int]:
    """Continue a text with the most likely token, again and again, with the cache of earlier keys and values.

    The whole prompt goes through `model.forward_contiguous` once; after that each call gets only the newest token and
    the past that the call before returned. The last row of the logits is about the next token.

    Args:
        token_ids: the prompt, at least one token.
        max_new_tokens: how many tokens to generate at most.
        stop_token_ids: generation ends after one of these.

    Returns:
        The new tokens, without the prompt; a token that stopped generation is the last of them.
    """
    raise NotImplementedError("exercise 5.4: write this function")
