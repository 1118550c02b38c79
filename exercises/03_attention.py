# Exercises of lesson 03: Attention: mask, positions, grouped heads, pages.
#
# Each function below belongs to the engine; its body has been taken out. Write it, save the file, check it:
# `yaie.exercise("3.1").check()` in the notebook, or `yaie check 3.1` in a terminal.
# Functions that you have not written yet are filled in with the engine's own, so any order works.
# generated, text hash bf80ae6840c8bd99

from __future__ import annotations

import math

import torch

from yaie.kernels.radix_attention import ungroup_heads


# ---------- Exercise 3.1: A causal mask with an offset (about 10 minutes) ----------
def causal_mask(q_len: int, kv_len: int, offset: int, device: torch.device | str | None = None) -> torch.Tensor:
    """Say which keys each query may see: its own and all before it. The first query is the token at position
    `offset`. For 2 queries, 4 keys and an offset of 2 the rows are [True, True, True, False] and [True, True,
    True, True].
    """
    raise NotImplementedError("exercise 3.1: write this function")


# ---------- Exercise 3.2: Rotate pairs (RoPE) (about 15 minutes) ----------
def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turn each pair of numbers of each head by its angle. A pair is number i of the first half and number i of
    the second half: (a, b) becomes (a cos - b sin, b cos + a sin). A head [1, 2, 3, 4] has the pairs (1, 3) and
    (2, 4). A quarter turn for the first and none for the second gives [-3, 2, 1, 4].
    """
    raise NotImplementedError("exercise 3.2: write this function")


# ---------- Exercise 3.3: Group the heads that share a KV head (about 15 minutes) ----------
def group_heads(query: torch.Tensor, num_kv_heads: int) -> torch.Tensor:
    """Reorder queries so that those which read the same KV head lie side by side. With 4 query heads and 2 KV
    heads, query heads 0 and 1 read KV head 0 and query heads 2 and 3 read KV head 1. For one token the 4 rows
    of `query[0, 0]` become 2 groups of 2 rows. With more tokens, the rows of a group are: all tokens of its
    first head, then all tokens of its second head.
    """
    raise NotImplementedError("exercise 3.3: write this function")


# ---------- Exercise 3.4: Gather through pages (about 10 minutes) ----------
def gather_pages(cache: torch.Tensor, block_table: torch.Tensor, context_len: int) -> torch.Tensor:
    """Collect the tokens of one sequence from the pool, in order of position. With blocks of 2 tokens and the
    block table [3, 0], 3 tokens are: both rows of block 3 and the first row of block 0.
    """
    raise NotImplementedError("exercise 3.4: write this function")


# ---------- Exercise 3.5: Attention, and what a merge needs (about 25 minutes) ----------
def attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None = None,
    scale: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Put it together: scores, scale, mask, softmax, mean of the values. Return the output and `lse`, the
    logarithm of the sum of exponentiated scores. For a query [2, 0, 0, 0] and the keys [1, 0, 0, 0] and [0, 0,
    0, 0] the scores are 2 * 1 / 2 = 1 and 0, lse is log(e + 1) = 1.313, and the weights are 0.731 and 0.269.
    """
    raise NotImplementedError("exercise 3.5: write this function")
