"""Timing on a GPU: the card's own clock, cold caches, and a card that is never waiting for Python.

A call from Python takes tens of microseconds before anything reaches the card. Two ways keep that out of the numbers:
`measure_calls` lets the card wait until calls have queued up, `measure_graph` replays them from a CUDA graph, without
Python. Both take turns through several sets of inputs, so that none is found in the L2 cache from its last turn.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence

import torch

from yaie.profiling.timing import Timing, timing_of

CYCLES_PER_CALL = 400_000  # about 0.2 ms of the card's clock: longer than Python takes to queue a call
ATTEMPTS = 3  # calls that wait for the card themselves are never queued in time
WARM_UP = 0.03  # seconds: an idle card runs at a fraction of its clock
SLOW = 0.5  # seconds: a call that takes longer needs no second one to warm up
MOST_REPEATS = 50


def copies_needed(bytes_per_call: int, room: int) -> int:
    """How many sets of inputs to take turns through: at least four L2 caches full, at most what fits into `room`."""
    cache = torch.cuda.get_device_properties().L2_cache_size
    return max(1, min(max(2, -(-4 * cache // bytes_per_call)), 64, room // bytes_per_call))


def measure_calls(calls: Sequence[Callable[[], object]], seconds: float = 0.2) -> Timing:
    """Time one call by CUDA events around it; call i is `calls[i % len(calls)]`. Runs for about `seconds`.

    If Python was late, so that the card has waited for it between two events, all is measured again with a longer wait
    before it.
    """
    turns = itertools.cycle(calls)
    first = _warm_up(turns)
    repeats = max(2, min(MOST_REPEATS, int(seconds / first)))
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
    for cycles in (CYCLES_PER_CALL * 4**attempt for attempt in range(ATTEMPTS)):
        torch.cuda._sleep(cycles * repeats)  # meanwhile Python queues everything
        awake = torch.cuda.Event()
        awake.record()
        for start, end in events:
            call = next(turns)
            start.record()
            call()
            end.record()
        in_time = not awake.query()
        torch.cuda.synchronize()
        if in_time:
            break
    return timing_of([start.elapsed_time(end) / 1e3 for start, end in events])


def _warm_up(turns) -> float:
    """Call until the card's clock is up; the seconds of the fastest call, as Python sees it."""
    fastest, begin = float("inf"), time.perf_counter()
    for count in itertools.count(1):
        start = time.perf_counter()
        next(turns)()
        torch.cuda.synchronize()
        now = time.perf_counter()
        fastest = min(fastest, now - start)
        if now - begin > WARM_UP and (count >= 2 or fastest > SLOW):
            return fastest
    raise AssertionError("unreachable")


def measure_graph(calls: Sequence[Callable[[], object]], repeats: int = 20) -> Timing:
    """Time one call of a CUDA graph that holds at least 20 of them, one after the other.

    Raises RuntimeError for a call that cannot be captured, such as one that waits for the card.
    """
    turns = list(itertools.islice(itertools.cycle(calls), max(20, len(calls))))
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # what is allocated or compiled at a first call must not be in the graph
        calls[0]()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = [call() for call in turns]
    timing = measure_calls([graph.replay], seconds=repeats * 1e-3)
    del kept
    return Timing(*(t / len(turns) for t in (timing.median, timing.q1, timing.q3)), timing.repeats)


def ceilings() -> dict[str, float]:
    """What this card does at best: "copy" and "read" in bytes/s, "compute" in FLOP/s of a bf16 matrix product."""
    n, m = 1 << 28, 8192
    x, y = (torch.empty(n, dtype=torch.float32, device="cuda").uniform_() for _ in range(2))
    a, b = (torch.randn(m, m, dtype=torch.bfloat16, device="cuda") for _ in range(2))
    best = {
        "compute": 2 * m**3 / measure_calls([lambda: a @ b]).median,  # first, because it also warms up
        "copy": 2 * x.nbytes / measure_calls([lambda: y.copy_(x)]).median,
        "read": x.nbytes / measure_calls([lambda: x.sum()]).median,
    }
    best["read"] = max(best["read"], best["copy"])  # a sum may be the slower kernel
    return best
