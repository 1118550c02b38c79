# Exercises of lesson 17: Integration: your kernels serve.
#
# Each function below belongs to the engine; its body has been taken out. Write it, save the file, check it:
# `yaie.exercise("17.1").check()` in the notebook, or `yaie check 17.1` in a terminal.
# Functions that you have not written yet are filled in with the engine's own, so any order works.
# generated, text hash d7013c7f0f01859b

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from yaie.kernels.backends import BackendError
from yaie.kernels.native import module
from yaie.kernels.native.memory import token_bytes
from yaie.models.batch import Batch


# ---------- Exercise 17.1: Choose a backend (about 15 minutes) ----------
def choose(backend: str, operation: str, on_gpu: bool, tables: Mapping[str, Mapping[str, Callable]]) -> Callable:
    """Find the function that runs an operation for a caller who asked for a backend by name, or for "auto". With
    the kernels {"cuda": {"rope": f}}, "auto" on a GPU gives f for "rope", and torch's function for "sample";
    "cuda" gives f for "rope" and raises `BackendError` for "sample".
    """
    raise NotImplementedError("exercise 17.1: write this function")


# ---------- Exercise 17.2: Call a launcher (about 15 minutes) ----------
def reshape_and_cache(
    backend: str, key: Tensor, value: Tensor, key_cache: Tensor, value_cache: Tensor, slot_mapping: Tensor
) -> None:
    """Call the kernel of lesson 09 that stores new keys and values in their slots. The launcher takes addresses
    and believes you: what has another dtype, or gaps, must be made fit before. One KV head of 8 numbers in
    float16 has 16 bytes a token.
    """
    raise NotImplementedError("exercise 17.2: write this function")


# ---------- Exercise 17.3: Find the bucket (about 5 minutes) ----------
def bucket_for(num_seqs: int, sizes: Sequence[int]) -> int | None:
    """Graphs are captured for a few numbers of sequences. Find the smallest that holds a batch. With the buckets
    [1, 2, 4, 8], 3 sequences go into 4, 4 into 4, and 9 do not fit: None.
    """
    raise NotImplementedError("exercise 17.3: write this function")


# ---------- Exercise 17.4: Pad a batch for a graph (about 15 minutes) ----------
def fill(static: Batch, batch: Batch) -> None:
    """Copy a decode batch into the tensors that a graph reads, and turn the rows that are left over into padding.
    A batch of 3 in a bucket of 4: rows 0 to 2 are copied, and row 3 gets token 0, slot -1 and context 0.
    """
    raise NotImplementedError("exercise 17.4: write this function")
