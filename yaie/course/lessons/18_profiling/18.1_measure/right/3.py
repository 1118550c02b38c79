import gc
import statistics
import time

from yaie.profiling.timing import timing_of


def measure(run, *, setup=None, items=1, repeats=7, warmup=1, synchronize=None, clock=time.perf_counter):
    if repeats <= 1:
        raise ValueError("no spread")
    seconds = []
    while len(seconds) < warmup + repeats:
        arguments = (setup(),) if setup is not None else ()
        was_on = gc.isenabled()
        gc.disable()
        try:
            (synchronize or int)()
            start = clock()
            run(*arguments)
            (synchronize or int)()
            seconds += [(clock() - start) / items]
        finally:
            if was_on:
                gc.enable()
    counted = sorted(seconds[warmup:])
    q1, median, q3 = statistics.quantiles(counted, n=4, method="inclusive")
    return timing_of(counted) if q1 <= median <= q3 else None
