# expect: runs of 9, 1 and 2 seconds: measure(run, repeats=2)
import time

from yaie.profiling.timing import garbage_waits, timing_of


def measure(run, *, setup=None, items=1, repeats=7, warmup=1, synchronize=None, clock=time.perf_counter):
    if repeats <= 2:
        raise ValueError("no spread")
    wait, seconds = synchronize or (lambda: None), []
    for _ in range(warmup + repeats):
        given = () if setup is None else (setup(),)
        with garbage_waits():
            wait()
            start = clock()
            run(*given)
            wait()
            seconds.append((clock() - start) / items)
    return timing_of(seconds[warmup:])
