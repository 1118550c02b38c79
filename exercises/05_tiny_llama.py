# Exercises of lesson 05: A tiny Llama.
#
# Each function is the engine's, with its body taken out or a mistake put in. Write or fix it, save, check:
# `yaie.exercise("5.1").check()` in the notebook, or `yaie check 5.1` in a terminal.
# Functions that you have not written yet are filled in with the engine's own, so any order works.
# generated, text hash 4c5a02aab9c6e9c1

from __future__ import annotations

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor

from yaie.kernels import checks
from yaie.kernels.ops import Operations
from yaie.models import llama
from yaie.models.llama import Attend, Llama


# ---------- Exercise 5.1: RMSNorm (about 10 minutes) ----------
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Divide each row by its root mean square, then multiply by `weight`:
    `x / sqrt(mean(x ** 2) + eps) * weight`, with the mean over the last dimension.

    - `x`: `[..., size]` in any floating dtype.
    - `weight`: `[size]`.
    - `eps`: a small number that keeps a row of zeros finite.
    - Returns a tensor with the shape and the dtype of `x`.

    | row | `weight` | `eps` | result |
    |---|---|---|---|
    | `[1, 7]` | `[1, 1]` | 0 | `[0.2, 1.4]` |
    | `[1, 7]` | `[10, 1]` | 0 | `[2, 1.4]` |
    | `[1, 7]` | `[1, 1]` | 11 | `[0.167, 1.167]` |
    | `[0, 0, 0]` | `[1, 1, 1]` | 1e-6 | `[0, 0, 0]` |

    In the first row the squares are 1 and 49, their mean is 25 and its root is 5.

    The divided row is rounded to the dtype of `x` before the weight is applied, as the checkpoints were
    trained. In float16 `[1, 2, 4]` with an `eps` of 0 and weights of 101 becomes
    `[38.16, 76.31, 152.62]`; rounded at the end only, it would be `[38.19, 76.38, 152.75]`.

    The squares of 16-bit numbers may overflow: in float16, 300 * 300 is infinite. The norm of such a
    row is finite: `[300, -300, 0, 0]` becomes `[1.414, -1.414, 0, 0]`.
    """
    raise NotImplementedError("exercise 5.1: write this function")


# ---------- Exercise 5.2: SwiGLU (about 10 minutes) ----------
def silu_mul(gate_up: Tensor) -> Tensor:
    """Let each number of the gate decide how much of its partner in up may pass: return `silu(gate) * up`,
    number by number, with `silu(z) = z * sigmoid(z)`.

    - `gate_up`: `[..., 2 * size]` in any floating dtype. The first half of each row is the gate, the
      second half is up.
    - Returns `[..., size]` in the dtype of `gate_up`.

    The row `[1, 0, 2, 3]`:

    | | first number | second number |
    |---|---|---|
    | gate | 1 | 0 |
    | silu(gate) | 0.731 | 0 |
    | up | 2 | 3 |
    | result | 1.462 | 0 |
    """
    raise NotImplementedError("exercise 5.2: write this function")


class DecoderBlock(llama.DecoderBlock):
    """The engine's `DecoderBlock`. The methods below replace its own; all others are inherited."""

    # ---------- Exercise 5.3: The decoder block (about 15 minutes) ----------
    def forward(
        self, change: Tensor, residual: Tensor, cos: Tensor, sin: Tensor, attend: Attend, operations: Operations
    ) -> Tensor:
        """Run one block: attention, then the MLP. Each works on a normalised copy of the residual stream, and
        its output is added to the stream, which itself is never normalised. Every sum is left to the norm
        that comes after it, since that norm reads the sum anyway.

        - `change`: `[num_tokens, hidden_size]`, the output of the block before, not yet part of the stream.
        - `residual`: `[num_tokens, hidden_size]`, the stream so far. It is changed in place; when you
          return, it is the stream after attention.
        - `cos`, `sin`, `attend`: for `self.attention(x, cos, sin, attend, operations)`, whose result has
          the shape of `x`.
        - `operations`: the backend. It computes everything between the matrix products, see below.
        - Returns `[num_tokens, hidden_size]`, the output of the MLP. The next block adds it to the stream.

        Let the weights of the norms be `[1, 1]` and `[2, 1]`, and let attention exchange the two numbers of
        a token and multiply them by 10. The stream is `[0, 5]` and the change is `[1, 2]`:

        | input of attention | its output | input of the MLP | `residual` afterwards |
        |---|---|---|---|
        | `[0.2, 1.4]` | `[14, 2]` | `[2.425, 0.728]` | `[15, 9]` |

        You may use `operations.rms_norm(x, weight, eps, residual)`, which adds `x` to `residual` in place
        and returns the norm of that sum; `operations.silu_mul(gate_up)` of exercise 5.2; the weights
        `self.input_norm` (for attention) and `self.post_attention_norm` (for the MLP); and the matrix
        products `self.gate_up_proj(x)` and `self.down_proj(x)`.
        """
        raise NotImplementedError("exercise 5.3: write this function")


# ---------- Exercise 5.4: Generate with a cache (about 20 minutes) ----------
def generate_greedy(
    model: Llama, token_ids: list[int], max_new_tokens: int, stop_token_ids: Collection[int] = ()
) -> list[int]:
    """Continue a text greedily: each next token is the one with the largest logit. The past of each
    call is kept, so that no token goes through the model twice.

    - `model.forward_contiguous(tokens, past)` takes the ids of new tokens, a tensor on `model.device`,
      and the past (None at the start). It returns the logits `[num_new, vocab_size]`, in which row `i`
      is about the token that follows new token `i`, and the longer past.
    - `token_ids`: the prompt, a list of at least one token.
    - `max_new_tokens`: how many tokens to generate at most. With 0 the model is not called.
    - `stop_token_ids`: generation ends with the first of these.
    - Returns the list of new tokens, without the prompt. A token that stopped generation is its last.

    Take a model whose next token is the sum of all tokens so far, modulo 10, the prompt `[1, 2]`, and
    3 new tokens:

    | call | tokens sent | the last row says |
    |---|---|---|
    | 1 (prefill) | `[1, 2]` | 3 |
    | 2 (decode) | `[3]` | 6 |
    | 3 (decode) | `[6]` | 2 |

    The result is `[3, 6, 2]`. With `stop_token_ids=(6,)` there are two calls, and it is `[3, 6]`.
    """
    raise NotImplementedError("exercise 5.4: write this function")
