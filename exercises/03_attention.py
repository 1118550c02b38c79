# Exercises of lesson 03: Attention: mask, positions, grouped heads, pages.
#
# Each function is the engine's, with its body taken out or a mistake put in. Write or fix it, save, check:
# `yaie.exercise("3.1").check()` in the notebook, or `yaie check 3.1` in a terminal.
# Functions that you have not written yet are filled in with the engine's own, so any order works.
# generated, text hash f3c3caab73f621d1

from __future__ import annotations

import math

import torch
from torch import Tensor

from yaie.kernels.attention import ungroup_heads


# ---------- Exercise 3.1: A causal mask with an offset (about 10 minutes) ----------
def causal_mask(q_len: int, kv_len: int, offset: int, device: torch.device | str | None = None) -> Tensor:
    """Say which keys each query may see: a token sees itself and every token before it.

    - `q_len`: number of queries. Query `i` is the token at position `offset + i`.
    - `kv_len`: number of keys. Key `j` is the token at position `j`.
    - `offset`: number of tokens before the first query: 0 without a cache, else the length of the past.
    - `device`: where the mask is made.
    - Returns a bool tensor `[q_len, kv_len]`, True where query `i` may see key `j`.

    `causal_mask(q_len=2, kv_len=4, offset=2)`:

    | | key 0 | key 1 | key 2 | key 3 |
    |---|---|---|---|---|
    | query 0, position 2 | True | True | True | False |
    | query 1, position 3 | True | True | True | True |

    There may be keys after the last query, which it does not see: with one query, 4 keys and an offset
    of 0 the mask is `[[True, False, False, False]]`.
    """
    raise NotImplementedError("exercise 3.1: write this function")


# ---------- Exercise 3.2: Rotate pairs (RoPE) (about 15 minutes) ----------
def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair of numbers of each head by its angle: a pair `(a, b)` becomes
    `(a * cos - b * sin, b * cos + a * sin)`.

    As in Hugging Face checkpoints, number `i` of the first half of a head is paired with number `i` of
    the second half, and not with its neighbour.

    - `x`: `[..., num_heads, head_dim]`, queries or keys in any floating dtype.
    - `cos`, `sin`: float32 `[..., 1, head_dim / 2]`, of the angle of each pair. The axis of length 1
      stands for the heads, which all turn alike.
    - Returns a tensor with the shape and the dtype of `x`. The products and sums are float32, also for
      a 16-bit `x`: only the result is rounded. `x` itself stays as it is.

    The head `[1, 2, 3, 4]` has two pairs. The first is turned by 90 degrees, the second not at all:

    | pair | cos | sin | becomes |
    |---|---|---|---|
    | (1, 3) | 0 | 1 | (-3, 1) |
    | (2, 4) | 1 | 0 | (2, 4) |

    The result is `[-3, 2, 1, 4]`.
    """
    raise NotImplementedError("exercise 3.2: write this function")


# ---------- Exercise 3.3: Group the heads that share a KV head (about 15 minutes) ----------
def group_heads(query: Tensor, num_kv_heads: int) -> Tensor:
    """Put all queries that read the same KV head side by side, as if they were more tokens of one head.
    Then one matrix product serves them all, and no key or value is repeated.

    With `group = num_heads / num_kv_heads`, the query heads `k * group` to `k * group + group - 1` read
    KV head `k`. `num_kv_heads` divides `num_heads`; it may be 1 or `num_heads`.

    - `query`: `[num_seqs, q_len, num_heads, head_dim]`.
    - Returns `[num_seqs, num_kv_heads, group * q_len, head_dim]`. The rows of a KV head are all tokens
      of the first head of its group, then all tokens of the second, and so on.

    One sequence, 2 tokens, 4 heads, 2 KV heads; h1t0 is the query of head 1 of token 0:

    | KV head | its rows, in this order |
    |---|---|
    | 0 | h0t0, h0t1, h1t0, h1t1 |
    | 1 | h2t0, h2t1, h3t0, h3t1 |
    """
    raise NotImplementedError("exercise 3.3: write this function")


# ---------- Exercise 3.4: Gather through pages (about 10 minutes) ----------
def gather_pages(cache: Tensor, block_table: Tensor, context_len: int) -> Tensor:
    """Collect the keys (or the values) of one sequence from the pool, in order of position.

    - `cache`: `[num_blocks, block_size, num_kv_heads, head_dim]`, keys or values of one layer.
    - `block_table`: a row of int32 or int64. Entry `i` names the block that holds the positions from
      `i * block_size` on.
    - `context_len`: number of tokens, at least 1.
    - Returns `[context_len, num_kv_heads, head_dim]`, a copy.

    A pool of 4 blocks of 2 tokens, one number each, which is the slot: block 0 holds 0 and 1, block 3
    holds 6 and 7.

    | `block_table` | `context_len` | result |
    |---|---|---|
    | `[3, 0]` | 4 | 6, 7, 0, 1 |
    | `[3, 0]` | 3 | 6, 7, 0 |
    | `[3, 0, -1, 99]` | 4 | 6, 7, 0, 1 |

    Rows after the last token hold what an earlier request left there. Entries of the table that are
    not needed may be anything, such as a block that does not exist.
    """
    raise NotImplementedError("exercise 3.4: write this function")


# ---------- Exercise 3.5: Attention, and what a merge needs (about 25 minutes) ----------
def attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, scale: float | None = None
) -> tuple[Tensor, Tensor]:
    """Compute attention with all scores at once. A score is the dot product of a query and a key, times
    `scale`; the output is the mean of the values, weighted by the softmax of the scores.

    - `query`: `[num_seqs, q_len, num_heads, head_dim]`.
    - `key`, `value`: `[num_seqs, kv_len, num_kv_heads, head_dim]`; grouped as in exercise 3.3.
    - `mask`: bool, True where a query may see a key. `[q_len, kv_len]`, or `[num_seqs, q_len, kv_len]`
      with a mask for each sequence. None hides nothing.
    - `scale`: None stands for `1 / sqrt(head_dim)`.
    - Returns the output, shaped like `query`, and the lse, `[num_seqs, q_len, num_heads]`: the
      logarithm of the sum of `exp(score)` over the keys that a query sees. Both are float32, also for
      float16 input, and float64 for float64 queries.

    One head of 4 numbers, the query `[2, 0, 0, 0]`, two keys:

    | | key `[1, 0, 0, 0]` | key `[0, 1, 0, 0]` |
    |---|---|---|
    | score | 1 | 0 |
    | weight | 0.731 | 0.269 |
    | first number of the value | 10 | 20 |

    The output begins with 12.69, and the lse is log(e + 1) = 1.313. A query that sees no key has the
    output 0 and the lse -inf. Where scores are so large that their exponential is infinite, output and
    lse stay finite.

    You may use `group_heads(query, num_kv_heads)` and `ungroup_heads(x, q_len)`, which undoes it.
    """
    raise NotImplementedError("exercise 3.5: write this function")
