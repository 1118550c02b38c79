# Exercises of lesson 18: Profiling and the roofline.
#
# Each function is the engine's, with its body taken out or a mistake put in. Write or fix it, save, check:
# `yaie.exercise("18.1").check()` in the notebook, or `yaie check 18.1` in a terminal.
# Functions that you have not written yet are filled in with the engine's own, so any order works.
# generated, text hash e1fed03330260def

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from yaie.profiling.costs import Cost, Machine
from yaie.profiling.timing import Timing, garbage_waits, timing_of


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
    """Time `run()` so often that one slow run does not matter. First come `warmup` runs that do not count:
    they compile, allocate and fill caches. Then come `repeats` runs that do, and each is timed alone.
    Nothing but the run is on the clock.

    - `setup`: makes the input of a run. It is called before each run, off the clock, and `run` gets
      what it returns. Without a `setup` (None) `run` gets no argument.
    - `items`: how many equal things a run does. The times are for one of them.
    - `synchronize`: waits until the device has done all that it was told to do; None if there is none.
      Calls of a GPU return at once. What was begun before a run, by `setup` too, must not be counted
      with it, and what the run begins must be.
    - `clock`: gives the time in seconds.
    - Returns a `Timing`: median and quartiles of the seconds for one item, and `repeats`.
    - Raises a `ValueError` if `repeats` is less than 2: one run has no spread.

    | runs, in seconds | arguments | median | quartiles |
    |---|---|---|---|
    | 9, 4, 1, 2, 90, 3 | `warmup=1, repeats=5` | 3 | 2 and 4 |
    | 7, 7, 7, 8, 4, 6 | `warmup=3, repeats=3, items=2` | 3 | 2.5 and 3.5 |

    You may use `timing_of(seconds)`: the `Timing` of a list of times; and `with garbage_waits():`,
    inside which Python collects no garbage. It must not do so while the clock runs.
    """
    raise NotImplementedError("exercise 18.1: write this function")


# ---------- Exercise 18.2: Count the bytes and the FLOPs of a decode (about 15 minutes) ----------
def decode_cost(
    num_seqs: int, context_len: int, num_heads: int, num_kv_heads: int, head_dim: int, itemsize: int
) -> Cost:
    """Count what attention of one new token per sequence must move and compute, from shapes alone. Every
    key and value of the cache is read once, however many query heads share it.

    | tensor | shape | moved |
    |---|---|---|
    | query | `[num_seqs, num_heads, head_dim]` | read |
    | keys, values | `[num_seqs, context_len, num_kv_heads, head_dim]` each | read |
    | output | `[num_seqs, num_heads, head_dim]` | written |

    - `itemsize`: bytes of a number.
    - Returns `Cost(bytes, flops)`. A multiplication and an addition are two FLOPs.

    For each query head and each cached token there are `head_dim` multiplications and additions for the
    score, and as many to add the weighted value to the output. The softmax is left out: it is little
    work. So is the block table.

    1 sequence with 10 cached tokens, 4 query heads on 2 KV heads, 8 numbers of 2 bytes in a head:

    | | numbers | bytes | FLOPs |
    |---|---|---|---|
    | keys and values | 320 | 640 | |
    | query and output | 64 | 128 | |
    | 4 heads, 10 tokens, 32 FLOPs each | | | 1,280 |
    | `Cost` | | 768 | 1,280 |
    """
    raise NotImplementedError("exercise 18.2: write this function")


# ---------- Exercise 18.3: The least time on a machine (about 5 minutes) ----------
def least_time(cost: Cost, machine: Machine) -> float:
    """Predict how many seconds an operation takes at least on a machine. The machine moves bytes and
    computes at the same time.

    - `cost`: a `Cost`; `cost.bytes` must move, `cost.flops` must be computed.
    - `machine`: a `Machine`; it moves `machine.bandwidth` bytes and computes `machine.peak` FLOPs in a
      second.
    - Returns seconds, a float.

    On a machine with 100 bytes/s and 1,000 FLOP/s:

    | bytes | FLOPs | moving | computing | at least |
    |---|---|---|---|---|
    | 100 | 500 | 1 s | 0.5 s | 1 s |
    | 10 | 500 | 0.1 s | 0.5 s | 0.5 s |
    | 100 | 0 | 1 s | 0 s | 1 s |
    """
    raise NotImplementedError("exercise 18.3: write this function")
