# Exercises of lesson 04: Sampling: from logits to a token.
#
# Each function below belongs to the engine; its body has been taken out. Write it, save the file, check it:
# `yaie.exercise("4.1").check()` in the notebook, or `yaie check 4.1` in a terminal.
# Functions that you have not written yet are filled in with the engine's own, so any order works.
# generated, text hash c03c09982f434f66

from __future__ import annotations

import math

import torch

from yaie.kernels.sampling import Generators, largest_until


# ---------- Exercise 4.1: Temperature (about 10 minutes) ----------
def apply_temperature(logits: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    """Subtract from each row its largest logit and divide by the row's temperature. In a row with temperature 0,
    keep only the largest logit: 0 at its place and -inf elsewhere. The row [2, 1, 0] becomes [0, -2, -4] at
    temperature 0.5 and [0, -inf, -inf] at temperature 0.
    """
    raise NotImplementedError("exercise 4.1: write this function")


# ---------- Exercise 4.2: Top-k (about 15 minutes) ----------
def keep_largest(logits: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Keep the `counts[row]` largest logits of each row and set the rest to -inf. Among equal logits the lower ids
    are kept, so that exactly `counts[row]` stay. Of [1, 2, 2, 2] the 2 largest are [-inf, 2, 2, -inf].
    """
    raise NotImplementedError("exercise 4.2: write this function")


# ---------- Exercise 4.3: Top-p (about 15 minutes) ----------
def keep_top_p(logits: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Go through the tokens of a row from the most likely to the least, adding up their probabilities, and stop
    with the token that makes the sum reach `top_p`. That token stays, all after it become -inf. With the
    probabilities [.5, .3, .15, .05] and top_p 0.7 two tokens stay: 0.5 is not enough, 0.5 + 0.3 is.
    """
    raise NotImplementedError("exercise 4.3: write this function")


# ---------- Exercise 4.4: Draw a token (about 10 minutes) ----------
def draw_tokens(probs: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """Lay the probabilities of a row side by side on a line and return the token on whose piece the number
    `uniforms[row]`, times the length of the line, falls. With [.5, .25, .25] the number 0.6 falls on token 1,
    whose piece goes from 0.5 up to 0.75. The number 0.5 falls on token 1, too: a piece has its left end and not
    its right.
    """
    raise NotImplementedError("exercise 4.4: write this function")


# ---------- Exercise 4.5: A generator per request (about 10 minutes) ----------
def draw_uniforms(num_seqs: int, generator: Generators = None) -> torch.Tensor:
    """Return one random number for each row, each from the row's own generator. A request with a generator of seed
    7 gets the same numbers alone, in a batch of 2 and in a batch of 200, wherever in the batch it is.
    """
    raise NotImplementedError("exercise 4.5: write this function")
