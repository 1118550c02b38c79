# Exercises of lesson 17: Integration: your kernels serve.
#
# Each function is the engine's, with its body taken out or a mistake put in. Write or fix it, save, check:
# `yaie.exercise("17.1").check()` in the notebook, or `yaie check 17.1` in a terminal.
# Functions that you have not written yet are filled in with the engine's own, so any order works.
# generated, text hash b48da8ae9efad80a

from __future__ import annotations

from collections.abc import Callable

import torch

from yaie.kernels.ops import BACKENDS, memory
from yaie.kernels.ops.launching import BackendError, obstacle
from yaie.kernels.ops.memory import reshape_and_cache, token_bytes
from yaie.models import cuda_graph
from yaie.models.batch import Batch
from yaie.models.cuda_graph import bucket_for


# ---------- Exercise 17.1: Choose a backend (about 15 minutes) ----------
def resolve(backend: str, on_gpu: bool, obstacle: Callable[[str], str | None]) -> str:
    """Decide which backend computes for a caller who asked for `backend`. A backend that was asked for by
    its name computes, or none does. "auto" always finds one: "cuda" for tensors on a GPU unless
    something is in its way, else "torch". It never takes "emulator", which is for looking at kernels.

    - `backend`: "auto", or one of `BACKENDS`, which are "torch", "cuda" and "emulator".
    - `on_gpu`: whether the tensors are on a GPU.
    - `obstacle(name)`: what is in the way of a backend, a text, or None if nothing is. It may take
      seconds, because the engine runs a token through the model to find out. So ask it once at most,
      and only about a backend that could be the answer.
    - Returns "torch", "cuda" or "emulator".

    | `backend` | `on_gpu` | obstacle | result |
    |---|---|---|---|
    | "auto" | False | not asked | "torch" |
    | "auto" | True | None | "cuda" |
    | "auto" | True | "nvcc was not found" | "torch" |
    | "cuda" | True | "nvcc was not found" | `BackendError`, which quotes the obstacle |
    | "cuda" | False | None | `BackendError`: its kernels take tensors on a GPU |
    | "emulator" | True | None | `BackendError`: its kernels take tensors on the CPU |
    | "torch" | either | None | "torch" |
    | "gpu" | either | not asked | `ValueError`: there is no such backend |
    """
    raise NotImplementedError("exercise 17.1: write this function")


class Kernels(memory.Kernels):
    """The engine's `Kernels`. The methods below replace its own; all others are inherited."""

    # ---------- Exercise 17.2: Call a launcher (about 15 minutes) ----------
    def reshape_and_cache(self, key, value, key_cache, value_cache, slot_mapping):
        """Call the kernel of lesson 09 that stores the keys and values of new tokens in their slots (the KV
        append). A launcher takes addresses: it sees neither dtypes nor strides, and copies what lies there.
        So the tensors must fit before it is called. Shapes, slots and devices are right already, and the
        caches are contiguous.

        - `key`, `value`: `[num_tokens, num_kv_heads, head_dim]`, any floating dtype, perhaps with gaps.
        - `key_cache`, `value_cache`: `[num_blocks, block_size, num_kv_heads, head_dim]`, changed in place.
        - `slot_mapping`: `[num_tokens]`, int32 or int64. The kernel skips a token whose slot is -1.

        `self.launch["memory/reshape_and_cache.cu", "reshape_and_cache"]` is the launcher. It takes `key,
        value, key_cache, value_cache, slot_mapping, num_tokens, token_bytes`. It wants contiguous tensors,
        keys and values in the dtype of the cache, and int64 slots; `token_bytes` are the bytes of one
        token's keys.

        3 tokens with 2 KV heads of 8 numbers in float32, and a cache in float16: keys and values become
        float16, `num_tokens` is 3 and `token_bytes` is 2 * 8 * 2 = 32.

        Look at no number of a tensor (`tolist`, `item`, `if` on an element): on a GPU the CPU would wait
        for it, and a CUDA graph could not record the call.

        You may use `token_bytes(cache)`: the bytes of one token's keys in a layer of the cache.
        """
        raise NotImplementedError("exercise 17.2: write this function")


# ---------- Exercise 17.3: Pad a batch for a graph (about 15 minutes) ----------
def fill(static: Batch, batch: Batch) -> None:
    """Copy a decode batch into the tensors that a CUDA graph reads, and turn the rows that are left over
    into padding. A row of padding must change nothing, and read nothing that is not there.

    - `static`: a `Batch` of `size` sequences, which the graph was captured with. The graph knows the
      addresses of its tensors: they are changed in place and never replaced.
    - `batch`: a `Batch` of at most `size` sequences with one new token each.
    - Both have `token_ids`, `positions`, `slot_mapping` and `context_lens`, one number per sequence,
      and `block_tables`, `[num_seqs, width]`. Those of `static` are at least as wide.

    A batch of 3 in a bucket of 4, whose tensors hold an earlier batch:

    | row | token | position | slot | context |
    |---|---|---|---|---|
    | 0 | 41 | 5 | 29 | 6 |
    | 1 | 42 | 1 | 5 | 2 |
    | 2 | 43 | 9 | 9 | 10 |
    | 3, padding | 0 | any | -1 | 0 |

    Padding has slot -1, so its key and value are stored nowhere; context 0, so it reads no page; and
    token 0, a row that every embedding has. Its position and its row of the block tables may be
    anything, and so may the end of a wider row: nothing there is read.
    """
    raise NotImplementedError("exercise 17.3: write this function")


class DecodeGraphs(cuda_graph.DecodeGraphs):
    """The engine's `DecodeGraphs`. The methods below replace its own; all others are inherited."""

    # ---------- Exercise 17.4: Capture once, replay always (about 20 minutes) ----------
    def run(self, batch: Batch) -> torch.Tensor:
        """Run a decode batch by the graph of its bucket, which is captured when the bucket comes up for the
        first time.

        - `batch`: a `Batch` with one new token for each of its sequences; `len(batch.query_lens)` are its
          sequences, at most as many as the largest bucket takes.
        - Returns the hidden states `[num_seqs, hidden_size]` of these sequences, without padding.

        What there is:

        | | |
        |---|---|
        | `self.sizes` | the buckets, in ascending order; `bucket_for(num_seqs, self.sizes)` is the smallest one that holds so many |
        | `self._static_batch(size)` | the `Batch` that the graph of a bucket reads, always the same one |
        | `fill(static, batch)` | copies a batch into it; the rows that are left over become padding |
        | `self._step(static)` | one decode step: stores keys and values in the slots, returns hidden states |
        | `self.capture(step)` | calls `step()`, which takes no argument, some times, and returns a function that replays it |
        | `self.replays` | a dict: the replay of each bucket that has one |

        A replay computes with the numbers that lie in the static batch *then*, and returns the same tensor
        each time. A capture takes a while and memory: there is one for each bucket, ever. It runs the step in
        earnest, with whatever lies in the static batch: keys are stored in pages that belong to somebody.

        With the buckets 1, 2, 4 and 8:

        | call | bucket | captured | rows computed | rows returned |
        |---|---|---|---|---|
        | first, 3 sequences | 4 | yes | 4 | 3 |
        | second, 4 sequences | 4 | no | 4 | 4 |
        | third, 1 sequence | 1 | yes | 1 | 1 |
        """
        raise NotImplementedError("exercise 17.4: write this function")
