# Exercises of lesson 18: Profiling and the roofline.
#
# Each function is the engine's, with its body taken out or a mistake put in. Write or fix it, save, check:
# `yaie.exercise("18.1").check()` in the notebook, or `yaie check 18.1` in a terminal.
# Functions that you have not written yet are filled in with the engine's own, so any order works.
# generated, text hash c7b5412c41619453

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from yaie.profiling.costs import Cost
from yaie.profiling.occupancy import H100, Multiprocessor, REGISTER_UNIT, SHARED_RESERVED, SHARED_UNIT, WARP, WARP_UNIT, _round_up
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


# ---------- Exercise 18.3: How many blocks fit? (about 20 minutes) ----------
def resident_blocks(threads: int, registers: int, shared: int, has: Multiprocessor = H100) -> int:
    """Say how many thread blocks of a kernel a multiprocessor holds at a time.

    - `threads`: of a block. They come in whole warps of WARP = 32.
    - `registers`: of a thread. A warp gets its registers in pieces of REGISTER_UNIT = 256.
    - `shared`: bytes of shared memory of a block, static and dynamic. The system takes SHARED_RESERVED =
      1,024 more for each block. A block gets all of it in pieces of SHARED_UNIT = 128.
    - `has`: what the multiprocessor has, a `Multiprocessor` with `threads`, `blocks`, `registers` and
      `shared`. Its registers are in four equal parts, each with warps of its own; so the number of warps
      that registers are enough for is a multiple of WARP_UNIT = 4.
    - Returns whole blocks: a block is resident with all its warps, or not at all. 0 where not one fits.

    On an H100: 2,048 threads, 32 blocks, 65,536 registers, 233,472 bytes of shared memory.

    | threads | registers | shared | blocks | what is used up |
    |---|---|---|---|---|
    | 256 | 32 | 0 | 8 | threads: 2,048 |
    | 32 | 16 | 0 | 32 | the number of blocks; half of the threads are left |
    | 128 | 32 | 0 | 16 | threads, and registers as well |
    | 128 | 33 | 0 | 12 | registers: a warp of 33 each gets 1,280 |
    | 256 | 16 | 115,712 | 2 | shared memory: 116,736 for each |
    | 1024 | 65 | 0 | 0 | not one fits: the launch would fail |
    """
    raise NotImplementedError("exercise 18.3: write this function")
