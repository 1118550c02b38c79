"""Exercises of lesson 03: Attention: mask, positions, grouped heads, pages.

Each function below belongs to the engine; its body has been taken out. Write it, save the file, check it:
`yaie.exercise("3.1").check()` in the notebook, or `yaie check 3.1` in a terminal.
Functions that you have not written yet are filled in with the engine's own, so any order works.
"""
# generated, text hash 69c014e9c2143574

from __future__ import annotations

import math

import torch

from yaie.kernels.radix_attention import rope_cos_sin, ungroup_heads


# ---------- Exercise 3.1: A causal mask with an offset (about 10 minutes) ----------
def causal_mask(q_len: int, kv_len: int, offset: int, device: torch.device | str | None = None) -> torch.Tensor:
    """Which keys each query may see: itself and everything before it.

    Args:
        q_len: number of queries; query `i` is the token at position `offset + i`.
        kv_len: number of keys; key `j` is the token at position `j`.
        offset: number of tokens before the first query: 0 without a cache, else the length of the past.

    Returns:
        `[q_len, kv_len]`, bool, True where query `i` may see key `j`.
    """
    raise NotImplementedError("exercise 3.1: write this function")


# ---------- Exercise 3.2: Rotate pairs (RoPE) (about 15 minutes) ----------
def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turn every pair of numbers of every head by its angle.

    Pair `i` is `(a, b) = (x[..., i], x[..., i + head_dim / 2])`, as in Hugging Face checkpoints (not
    neighbours `2i` and `2i + 1`). It becomes `(a cos - b sin, b cos + a sin)`.

    Args:
        x: `[..., num_heads, head_dim]`.
        cos, sin: `[..., 1, head_dim / 2]`, from `rope_cos_sin`.

    Returns:
        The same shape and dtype as `x`; computed in the precision of `cos`.
    """
    raise NotImplementedError("exercise 3.2: write this function")


# ---------- Exercise 3.3: Group the heads that share a KV head (about 15 minutes) ----------
def group_heads(query: torch.Tensor, num_kv_heads: int) -> torch.Tensor:
    """Put the query heads that read the same KV head side by side, so that one matrix product serves them all.

    With `group = num_heads / num_kv_heads`, query head `h` reads KV head `h // group` (grouped-query
    attention).

    Args:
        query: `[num_seqs, q_len, num_heads, head_dim]`.

    Returns:
        `[num_seqs, num_kv_heads, group * q_len, head_dim]`; row `g * q_len + i` of KV head `k` is query `i`
        of head `k * group + g`. No key or value is repeated.
    """
    raise NotImplementedError("exercise 3.3: write this function")


# ---------- Exercise 3.4: Gather through pages (about 10 minutes) ----------
def gather_pages(cache: torch.Tensor, block_table: torch.Tensor, context_len: int) -> torch.Tensor:
    """Collect the first `context_len` tokens of a sequence, which lie in pages all over the pool.

    Args:
        cache: `[num_blocks, block_size, num_kv_heads, head_dim]`, keys or values of one layer.
        block_table: `[at least ceil(context_len / block_size)]`, integers; entry `i` is the block that holds
            the tokens `i * block_size ... (i + 1) * block_size - 1`. Later entries may be anything.
        context_len: number of tokens.

    Returns:
        `[context_len, num_kv_heads, head_dim]`, a copy, in order of position.
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
    """Softmax attention with all scores at once, and what is needed to merge it with attention over other keys.

    Args:
        query: `[num_seqs, q_len, num_heads, head_dim]`.
        key, value: `[num_seqs, kv_len >= 1, num_kv_heads, head_dim]`; `num_kv_heads` divides `num_heads`.
        mask: True where a query may see a key, `[q_len, kv_len]` or `[num_seqs, q_len, kv_len]`; None: all.
        scale: factor of the scores, `1 / sqrt(head_dim)` if None.

    Returns:
        The output, shaped like query, and lse `[num_seqs, q_len, num_heads]`, the logarithm of the sum of
        exponentiated scores; both float32 (float64 for float64 queries). A query that sees no key gives 0 and
        -inf.
    """
    raise NotImplementedError("exercise 3.5: write this function")
