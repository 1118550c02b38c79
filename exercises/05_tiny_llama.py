# Exercises of lesson 05: A tiny Llama.
#
# Each function below belongs to the engine; its body has been taken out. Write it, save the file, check it:
# `yaie.exercise("5.1").check()` in the notebook, or `yaie check 5.1` in a terminal.
# Functions that you have not written yet are filled in with the engine's own, so any order works.
# generated, text hash 3fa32430b02f5b48

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
    """Divide each row by its root mean square, then multiply by `weight`. The row [1, 7] has the squares 1 and 49;
    their mean is 25, the root is 5, so with a weight of [1, 1] and eps 0 it becomes [0.2, 1.4]. `eps` is added
    to the mean before the root.
    """
    raise NotImplementedError("exercise 5.1: write this function")


# ---------- Exercise 5.2: SwiGLU (about 10 minutes) ----------
def silu_mul(gate_up: Tensor) -> Tensor:
    """Each row of `gate_up` holds two halves: first the gate, then up. Multiply silu(gate) with up, number by
    number. In [1, 0, 2, 3] the gate is [1, 0], its silu is [0.731, 0], and the product with up = [2, 3] is
    [1.462, 0].
    """
    raise NotImplementedError("exercise 5.2: write this function")


class DecoderBlock(llama.DecoderBlock):
    """The engine's `DecoderBlock`. The methods below replace its own; all others are inherited."""

    # ---------- Exercise 5.3: The decoder block (about 15 minutes) ----------
    def forward(self, hidden: Tensor, cos: Tensor, sin: Tensor, attend: Attend) -> Tensor:
        """Wire the two halves of a block: hidden + attention(norm(hidden)), then that sum + mlp(norm(sum)). The norms
        go into the halves only; what is added to is never normalised. If attention exchanged the two numbers it
        gets and multiplied them by 10, [1, 7] would become [1, 7] + 10 * [1.4, 0.2] = [15, 9] after the first half.
        """
        raise NotImplementedError("exercise 5.3: write this function")


# ---------- Exercise 5.4: Generate with a cache (about 20 minutes) ----------
def generate_greedy(
    model: Llama, token_ids: list[int], max_new_tokens: int, stop_token_ids: Collection[int] = ()
) -> list[int]:
    """Send the prompt through the model once, then one token at a time, each with the past that the call before
    returned. The next token is the one with the largest logit in the last row. With a model whose next token is
    the sum of all tokens so far, modulo 10, the prompt [1, 2] is continued by 3, 6, 2, 4.
    """
    raise NotImplementedError("exercise 5.4: write this function")
