"""Exercises of lesson 04: Sampling: from logits to a token.

Each function below belongs to the engine; its body has been taken out. Write it, save the file, check it:
`yaie.exercise("4.1").check()` in the notebook, or `yaie check 4.1` in a terminal.
Functions that you have not written yet are filled in with the engine's own, so any order works.
"""
# generated, text hash 5b3278628f3fcd27

from __future__ import annotations

import math

import torch

from yaie.kernels.sampling import Generators, largest_until


# ---------- Exercise 4.1: Temperature (about 10 minutes) ----------
def apply_temperature(logits: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    """Divide each row by its temperature; at temperature 0 keep only the largest logit (greedy).

    Args:
        logits: `[num_seqs, vocab_size]`, float32; -inf is allowed, but not in a whole row.
        temperature: `[num_seqs]`, at least 0. Below 1 sharpens, above 1 flattens.

    Returns:
        `[num_seqs, vocab_size]`: `(logits - largest of the row) / temperature`. Subtracting first changes no
        probability and keeps a tiny temperature from overflowing. In a row with temperature 0: 0 at the
        largest logit (the lowest id among equals), -inf elsewhere.
    """
    raise NotImplementedError("exercise 4.1: write this function")


# ---------- Exercise 4.2: Top-k (about 15 minutes) ----------
def keep_largest(logits: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Keep the `counts[row]` largest logits of each row, the rest become -inf; among equals lower ids are kept.

    Args:
        logits: `[num_seqs, vocab_size]`.
        counts: `[num_seqs]`, int64, from 1 to `vocab_size`.
    """
    raise NotImplementedError("exercise 4.2: write this function")


# ---------- Exercise 4.3: Top-p (about 15 minutes) ----------
def keep_top_p(logits: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Keep the smallest set of most likely tokens whose probability reaches `top_p[row]`; the rest become -inf.

    The token that crosses the threshold is kept: 0.7 of `[.5, .3, .15, .05]` keeps two tokens.

    Args:
        logits: `[num_seqs, vocab_size]`.
        top_p: `[num_seqs]`, above 0 and at most 1; 1 keeps all.
    """
    raise NotImplementedError("exercise 4.3: write this function")


# ---------- Exercise 4.4: Draw a token (about 10 minutes) ----------
def draw_tokens(probs: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """Draw one token per row by inverting the cumulative distribution.

    Token `i` gets the numbers from (probability of all tokens before `i`) up to, not including, that plus its
    own. A token of probability 0 gets none.

    Args:
        probs: `[num_seqs, vocab_size]`, not negative, each row with a positive sum (it need not be 1).
        uniforms: `[num_seqs]`, float64, from [0, 1).

    Returns:
        `[num_seqs]`, int64.
    """
    raise NotImplementedError("exercise 4.4: write this function")


# ---------- Exercise 4.5: A generator per request (about 10 minutes) ----------
def draw_uniforms(num_seqs: int, generator: Generators = None) -> torch.Tensor:
    """One number from [0, 1) per row, float64.

    Args:
        num_seqs: number of rows.
        generator: a list with one generator per row: row `i` takes its number from `generator[i]`, so what it
            gets does not depend on the other rows. One generator (None: torch's own) serves all rows in turn.

    Returns:
        `[num_seqs]`, on the CPU.
    """
    raise NotImplementedError("exercise 4.5: write this function")
