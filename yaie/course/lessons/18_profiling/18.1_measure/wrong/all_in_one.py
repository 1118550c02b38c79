# expect: This is the mean of the runs that count, which one slow run moves far.
import time

from yaie.profiling.timing import garbage_waits, timing_of


def measure(run, *, setup=None, items=1, repeats=7, warmup=1, synchronize=None, clock=time.perf_counter):
    if repeats < 2:
        raise ValueError("one run has no spread")
    wait = synchronize or (lambda: None)

    def runs(count):
        for _ in range(count):
            run(*([setup()] if setup else []))
        wait()

    runs(warmup)
    with garbage_waits():
        start = clock()
        runs(repeats)
        seconds = (clock() - start) / repeats / items
    return timing_of([seconds] * repeats)
