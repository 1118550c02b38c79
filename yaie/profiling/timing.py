"""How long something takes: timed runs after a warm-up, with their spread. Needs nothing but Python's own library."""

from __future__ import annotations

import contextlib
import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Timing:
    """Seconds for one item: the median over `repeats` runs and the quartiles around it."""

    median: float
    q1: float
    q3: float
    repeats: int

    def __str__(self) -> str:
        scale, unit = unit_for(self.median)
        return f"{self.median * scale:.3g} {unit} ({self.q1 * scale:.3g}-{self.q3 * scale:.3g})"

    def __float__(self) -> float:
        return self.median


def timing_of(seconds: Sequence[float]) -> Timing:
    """Median and quartiles of at least two measured times."""
    q1, median, q3 = statistics.quantiles(seconds, n=4, method="inclusive")
    return Timing(median, q1, q3, len(seconds))


def unit_for(seconds: float) -> tuple[float, str]:
    """The factor and the name of the unit in which a time reads best."""
    for scale, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "us")):
        if seconds * scale >= 1:
            return scale, unit
    return 1e9, "ns"


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
    """Time `run()` again and again, each run alone, so that one slow run does not matter.

    The first `warmup` runs do not count: they compile, allocate and fill caches. Nothing but the run is on the clock,
    and no garbage is collected meanwhile.

    Args:
        run: what is timed.
        setup: called before every run, off the clock; `run` gets what it returns. Without it `run` gets nothing.
        items: how many equal things one run does; the times are per item.
        repeats: how many runs count.
        synchronize: waits until the device has done all that it was told to do (`torch.cuda.synchronize`). Calls of a
            GPU return at once: what was begun before a run must not be counted with it, and what it began must be.
        clock: seconds. Wall time, or `time.process_time` for code that computes in one thread: that does not count the
            time that other processes take away from this one.

    Returns:
        Median and quartiles of the seconds for one item.

    Raises:
        ValueError: `repeats` is less than 2, so that there is no spread.
    """
    if repeats < 2:
        raise ValueError(f"repeats must be at least 2 to show a spread, got {repeats}")
    wait = synchronize or (lambda: None)
    seconds = []
    for _ in range(warmup + repeats):
        arguments = () if setup is None else (setup(),)
        with garbage_waits():
            wait()
            start = clock()
            run(*arguments)
            wait()
            seconds.append((clock() - start) / items)
    return timing_of(seconds[warmup:])


@contextlib.contextmanager
def garbage_waits() -> Iterator[None]:
    """No garbage collection inside the block: it would be counted as the work of whoever is measured."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
