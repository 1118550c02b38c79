# Exercises of lesson 17: Integration: your kernels serve.
#
# Each function below belongs to the engine; its body has been taken out. Write it, save the file, check it:
# `yaie.exercise("17.1").check()` in the notebook, or `yaie check 17.1` in a terminal.
# Functions that you have not written yet are filled in with the engine's own, so any order works.
# generated, text hash d66f8c440f22e646

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from yaie.models.cuda_graph import bucket_sizes
from yaie.kernels.backends import BackendError
from yaie.kernels.native import module
from yaie.kernels.native.memory import token_bytes
from yaie.models.batch import Batch


# ---------- Exercise 17.1: Choose a backend (about 15 minutes) ----------
def choose(backend: str, operation: str, on_gpu: bool, tables: Mapping[str, Mapping[str, Callable]]) -> Callable:
    """Find the function that runs an operation for a caller who asked for a backend by name, or for "auto". With
    the kernels {"cuda": {"rope": f}}, "auto" on a GPU gives f for "rope", and torch's function for "sample";
    "cuda" gives f for "rope" and raises `BackendError` for "sample".

    * A backend that was asked for by its name runs the operation itself, or nobody does: no other takes its
      place.
    * "auto" on the CPU is torch's function. It is never the emulator's, which is for looking at kernels.
    * "auto" on a GPU is the kernel of "cuda", if there is one, and torch's function whenever the kernel refuses
      the arguments (it raises `BackendError`) or if there is no kernel. Other errors of a kernel are not
      hidden.

    Args: backend: "auto" or a key of `tables`. operation: a key of `tables["torch"]`, which has all operations.
    on_gpu: whether the tensors are on a GPU. tables: for each backend its functions by operation.

    Returns: A function that passes its arguments, by position and by name, to the right one.

    Raises: BackendError: the named backend has no such operation; the message names those that have.
    """
    raise NotImplementedError("exercise 17.1: write this function")


# ---------- Exercise 17.2: Call a launcher (about 15 minutes) ----------
def reshape_and_cache(
    backend: str, key: Tensor, value: Tensor, key_cache: Tensor, value_cache: Tensor, slot_mapping: Tensor
) -> None:
    """Call the kernel of lesson 09 that stores new keys and values in their slots. The launcher takes addresses
    and believes you: what has another dtype, or gaps, must be made fit before. One KV head of 8 numbers in
    float16 has 16 bytes a token.

    A launcher takes addresses. It sees neither dtypes nor strides, so everything must be as it expects before
    it is called: keys and values in the dtype of the cache, all tensors contiguous, slots int64. (The caches
    are contiguous already, and all shapes have been checked.)

    Args: backend: "cuda" or "emulator", for `module`. key, value: `[num_tokens, num_kv_heads, head_dim]`, any
    floating dtype, perhaps views with gaps. key_cache, value_cache: `[num_blocks, block_size, num_kv_heads,
    head_dim]`. slot_mapping: `[num_tokens]`, int32 or int64; -1 for padding, which the kernel skips.

    Given: `module("memory/reshape_and_cache.cu", backend)` has the launcher `reshape_and_cache(key, value,
    key_cache, value_cache, slot_mapping, num_tokens, token_bytes)`; `token_bytes(cache)` is the size of a
    token's keys in bytes.
    """
    raise NotImplementedError("exercise 17.2: write this function")


# ---------- Exercise 17.3: Find the bucket (about 5 minutes) ----------
def bucket_for(num_seqs: int, sizes: Sequence[int]) -> int | None:
    """Graphs are captured for a few numbers of sequences. Find the smallest that holds a batch. With the buckets
    [1, 2, 4, 8], 3 sequences go into 4, 4 into 4, and 9 do not fit: None.

    Args: num_seqs: at least 1. sizes: in ascending order, as from `bucket_sizes`.
    """
    raise NotImplementedError("exercise 17.3: write this function")


# ---------- Exercise 17.4: Pad a batch for a graph (about 15 minutes) ----------
def fill(static: Batch, batch: Batch) -> None:
    """Copy a decode batch into the tensors that a graph reads, and turn the rows that are left over into padding.
    A batch of 3 in a bucket of 4: rows 0 to 2 are copied, and row 3 gets token 0, slot -1 and context 0.

    A row of padding must change nothing and must read nothing that is not there: its slot is -1, so that its
    key and value are stored nowhere, its context is 0, so that it looks at no page, and its token is 0, which
    every vocabulary has. What lies in its row of the block tables, and behind the end of the other rows, is not
    read.

    Args: static: of `size` sequences; its tensors are changed in place and stay where they are. `block_tables`
    is `[size, max_blocks]`, as wide as any batch's can be. batch: of at most `size` sequences with one token
    each.
    """
    raise NotImplementedError("exercise 17.4: write this function")
