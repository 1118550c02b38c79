# Exercises of lesson 18: Profiling and the roofline.
#
# Each function below belongs to the engine; its body has been taken out. Write it, save the file, check it:
# `yaie.exercise("18.1").check()` in the notebook, or `yaie check 18.1` in a terminal.
# Functions that you have not written yet are filled in with the engine's own, so any order works.
# generated, text hash 83110ea8e15f331f

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from yaie.bench.costs import Cost, Machine
from yaie.bench.harness import Timing, garbage_waits, timing_of


# ---------- Exercise 18.1: A time that can be trusted (about 20 minutes) ----------
def measure(
    run: Callable[..., Any],
    *,
    setup: Callable[[], Any] | None = None,
    items: int = 1,
    repeats: int = 7,
    warmup: int = 1,
    synchronize: Callable[[], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
    """Time a function: runs to warm up that do not count, then runs that do, each timed alone. The inputs are made
    off the clock, and the device is waited for on both sides. Runs of 9, 4, 1, 2, 90 and 3 seconds, the first
    to warm up, have the median 3 and the quartiles 2 and 4.
    """
    raise NotImplementedError("exercise 18.1: write this function")


# ---------- Exercise 18.2: Count the bytes and the FLOPs of a decode (about 15 minutes) ----------
def decode_cost(
    num_seqs: int, context_len: int, num_heads: int, num_kv_heads: int, head_dim: int, itemsize: int
) -> Cost:
    """Count what attention of one new token per sequence must move and compute, from its shapes. 1 sequence with
    10 cached tokens, 4 query heads on 2 KV heads of 8 numbers of 2 bytes: 640 bytes of keys and values, 128 of
    query and output, and 1,280 FLOPs.
    """
    raise NotImplementedError("exercise 18.2: write this function")


# ---------- Exercise 18.3: The least time on a machine (about 5 minutes) ----------
def least_time(cost: Cost, machine: Machine) -> float:
    """Predict: how long does an operation take at least, if a machine moves `machine.bandwidth` bytes and computes
    `machine.peak` FLOPs in a second, both at the same time? 100 bytes and 500 FLOPs at 100 bytes/s and 1,000
    FLOP/s: 1 s.
    """
    raise NotImplementedError("exercise 18.3: write this function")
