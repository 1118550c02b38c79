# Exercises of lesson 18: Profiling and the roofline.
#
# Each function below belongs to the engine; its body has been taken out. Write it, save the file, check it:
# `yaie.exercise("18.1").check()` in the notebook, or `yaie check 18.1` in a terminal.
# Functions that you have not written yet are filled in with the engine's own, so any order works.
# generated, text hash f1809c28658725e8

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

    First `warmup` runs that do not count (the first run compiles, allocates and fills caches), then `repeats`
    that do. Each counted run is timed alone, with `clock()` before and after; `timing_of` makes a `Timing` of
    all the times. A `with` block of `garbage_waits()` keeps Python's garbage collector out of what stands in
    it.

    Args: run: what is timed. setup: called before every run, off the clock; `run` gets what it returns. Without
    it `run` gets nothing. items: how many equal things one run does; the times are per item. repeats: at least
    2, else there is no spread. warmup: how many runs come first and do not count. synchronize: waits until the
    device has done all that it was told to do (`torch.cuda.synchronize`). Calls of a GPU return at once, so
    this is called on both sides of the run: what was begun before must not be counted, and what the run began
    must be. clock: seconds. Wall time, or `time.process_time` for code that computes in one thread: that does
    not count the time that other processes take away from this one.

    Returns: Median and quartiles of the seconds for one item.

    Raises: ValueError: `repeats` is less than 2.

    Example: runs of 9, 4, 1, 2, 90 and 3 seconds with `warmup=1` and `repeats=5` have the median 3 and the
    quartiles 2 and 4.
    """
    raise NotImplementedError("exercise 18.1: write this function")


# ---------- Exercise 18.2: Count the bytes and the FLOPs of a decode (about 15 minutes) ----------
def decode_cost(
    num_seqs: int, context_len: int, num_heads: int, num_kv_heads: int, head_dim: int, itemsize: int
) -> Cost:
    """Count what attention of one new token per sequence must move and compute, from its shapes. 1 sequence with
    10 cached tokens, 4 query heads on 2 KV heads of 8 numbers of 2 bytes: 640 bytes of keys and values, 128 of
    query and output, and 1,280 FLOPs.

    Bytes: every key and every value of the cache is read once, however many query heads share it; the query is
    read and the output is written. FLOPs: for each query head and each cached token, a dot product of head_dim
    numbers gives the score, and head_dim numbers of the value are weighted with it and added up. A
    multiplication with an addition counts two. The few operations of the softmax are left out.

    Args: num_seqs, context_len: sequences, and cached tokens of each. num_heads: heads of the query and of the
    output, `[num_seqs, num_heads, head_dim]`. num_kv_heads: heads of keys and values, `[num_seqs, context_len,
    num_kv_heads, head_dim]` each. head_dim: numbers of a head. itemsize: bytes of a number.

    Example: 1 sequence, 10 tokens, 4 heads on 2 KV heads of 8 numbers of 2 bytes. Keys and values: 2 * 10 * 2 *
    8 * 2 = 640 bytes, query and output: 2 * 4 * 8 * 2 = 128 bytes. 4 heads * 10 tokens * (16 + 16) = 1,280
    FLOPs.
    """
    raise NotImplementedError("exercise 18.2: write this function")


# ---------- Exercise 18.3: The least time on a machine (about 5 minutes) ----------
def least_time(cost: Cost, machine: Machine) -> float:
    """Predict: how long does an operation take at least, if a machine moves `machine.bandwidth` bytes and computes
    `machine.peak` FLOPs in a second, both at the same time? 100 bytes and 500 FLOPs at 100 bytes/s and 1,000
    FLOP/s: 1 s.

    Moving the bytes and computing go on at the same time, so the longer of the two counts.

    Example: 100 bytes and 500 FLOPs, on a machine with 100 bytes/s and 1,000 FLOP/s: moving takes 1 s and
    computing 0.5 s, so the least time is 1 s.
    """
    raise NotImplementedError("exercise 18.3: write this function")
