# Exercises of lesson 04: Sampling: from logits to a token.
#
# Each function is the engine's, with its body taken out or a mistake put in. Write or fix it, save, check:
# `yaie.exercise("4.1").check()` in the notebook, or `yaie check 4.1` in a terminal.
# Functions that you have not written yet are filled in with the engine's own, so any order works.
# generated, text hash b958b8cc5989ca1b

from __future__ import annotations

import math

import torch
from torch import Tensor

from yaie.kernels.sampling import Generators, largest_until


# ---------- Exercise 4.1: Temperature (about 10 minutes) ----------
def apply_temperature(logits: Tensor, temperature: Tensor) -> Tensor:
    """Apply each row's temperature to its logits: return `(logits - largest of the row) / temperature`.
    A row with temperature 0 is greedy. It becomes 0 at its largest logit and `-inf` everywhere else.

    - `logits`: float32 `[num_seqs, vocab_size]`. Some may be `-inf`, but not a whole row.
    - `temperature`: float32 `[num_seqs]`, at least 0. One batch may mix greedy rows and others.
    - Returns float32 `[num_seqs, vocab_size]`, a new tensor: `logits` belongs to the caller and stays
      as it is.

    | row | temperature | result |
    |---|---|---|
    | `[2, 1, 0]` | 1 | `[0, -1, -2]` |
    | `[2, 1, 0]` | 0.5 | `[0, -2, -4]` |
    | `[0, 3, 1]` | 0 | `[-inf, 0, -inf]` |
    | `[5, 7, 7]` | 0 | `[-inf, 0, -inf]` |

    Among equal logits the lowest id wins, as in the last row. No result is NaN, however
    small the temperature: at 1e-38 the softmax of the result for `[1000, 999, 0]` is `[1, 0, 0]`.
    """
    raise NotImplementedError("exercise 4.1: write this function")


# ---------- Exercise 4.2: Top-k (about 15 minutes) ----------
def keep_largest(logits: Tensor, counts: Tensor) -> Tensor:
    """Keep the `counts[row]` largest logits of each row and set the others to `-inf`. Exactly that many
    stay: among equal logits the lower ids are kept.

    - `logits`: `[num_seqs, vocab_size]`. Some may be `-inf`.
    - `counts`: int64 `[num_seqs]`, each from 1 to `vocab_size`.
    - Returns `[num_seqs, vocab_size]`, a new tensor of the same dtype: `logits` belongs to the caller
      and stays as it is.

    | row | count | result |
    |---|---|---|
    | `[3, 1, 2, 0]` | 2 | `[3, -inf, 2, -inf]` |
    | `[3, 1, 2, 0]` | 4 | `[3, 1, 2, 0]` |
    | `[1, 2, 2, 2]` | 2 | `[-inf, 2, 2, -inf]` |
    | `[5, 4, 4, 5, 4]` | 3 | `[5, 4, -inf, 5, -inf]` |
    """
    raise NotImplementedError("exercise 4.2: write this function")


# ---------- Exercise 4.3: Top-p (about 15 minutes) ----------
def keep_top_p(logits: Tensor, top_p: Tensor) -> Tensor:
    """Keep the nucleus of each row, the fewest tokens whose probabilities add up to at least `top_p`,
    taken from the most likely on. Set the others to `-inf`.

    - `logits`: `[num_seqs, vocab_size]`. The probabilities of a row are its softmax.
    - `top_p`: float64 `[num_seqs]`, above 0 and at most 1.
    - Returns `[num_seqs, vocab_size]`, a new tensor. The logits that are kept do not change.

    A row with the probabilities 0.5, 0.3, 0.15 and 0.05:

    | `top_p` | tokens kept | their sum |
    |---|---|---|
    | 0.4 | 0 | 0.5 |
    | 0.7 | 0, 1 | 0.8 |
    | 0.9 | 0, 1, 2 | 0.95 |
    | 1 | all | 1 |

    The token with which the sum reaches `top_p` stays. Among equally likely tokens the lower ids go
    first. A `top_p` of 1 keeps every token, even where rounding makes the sum reach 1 too soon.

    You may use `keep_largest(logits, counts)` of exercise 4.2, and `largest_until(probs, mass)`: the
    largest probabilities of each row in descending order, float64, enough to reach `mass[row]` in every
    row. It saves sorting the whole vocabulary.
    """
    raise NotImplementedError("exercise 4.3: write this function")


# ---------- Exercise 4.4: Draw a token (about 10 minutes) ----------
def draw_tokens(probs: Tensor, uniforms: Tensor) -> Tensor:
    """Draw one token per row. Lay the probabilities of a row side by side on a line, in the order of the
    ids. The row's random number, a fraction of the length of the line, points at the token to return.

    - `probs`: `[num_seqs, vocab_size]`, not negative. The sum of a row is positive; it need not be 1.
    - `uniforms`: float64 `[num_seqs]`, from 0 up to, not including, 1.
    - Returns the token ids, int64 `[num_seqs]`.

    | row | number | token | because |
    |---|---|---|---|
    | `[0.5, 0.25, 0.25]` | 0.6 | 1 | its piece goes from 0.5 to 0.75 |
    | `[0.5, 0.25, 0.25]` | 0.5 | 1 | a piece has its left end, but not its right end |
    | `[0, 1]` | 0 | 1 | a token of probability 0 has no piece |
    | `[1, 1, 2]` | 0.4 | 1 | the line is 4 long, and 0.4 of it is 1.6 |

    Sums are float64. In float32 a very small piece vanishes beside the sum to its left, and its token
    could never be drawn.
    """
    raise NotImplementedError("exercise 4.4: write this function")


# ---------- Exercise 4.5: A generator per request (about 10 minutes) ----------
def draw_uniforms(num_seqs: int, generator: Generators = None) -> Tensor:
    """Return one random number for each row, so that the numbers of a request do not depend on who shares
    its batch.

    - `num_seqs`: number of rows.
    - `generator`: a list with one generator per row; row `i` takes one number from `generator[i]`. Or
      one generator for all rows, which take from it in turn. None stands for torch's own, also in a
      list.
    - Returns float64 `[num_seqs]` on the CPU, from 0 up to, not including, 1.

    Generator a gives the numbers a1, a2, a3, ..., generator b gives b1, b2, b3, ... Each row of the
    table starts with fresh generators:

    | call | first time | second time |
    |---|---|---|
    | `draw_uniforms(1, [b])` | b1 | b2 |
    | `draw_uniforms(2, [a, b])` | a1, b1 | a2, b2 |
    | `draw_uniforms(2, a)` | a1, a2 | a3, a4 |

    You may use `torch.rand((), dtype=torch.float64, generator=g)`: the next number of `g`, or of
    torch's own generator if `g` is None.
    """
    raise NotImplementedError("exercise 4.5: write this function")
