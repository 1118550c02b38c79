# expect: whether Python may collect garbage while the clock runs
import time

from yaie.profiling.timing import garbage_waits, timing_of


def measure(run, *, setup=None, items=1, repeats=7, warmup=1, synchronize=None, clock=time.perf_counter):
    if repeats < 2:
        raise ValueError("one run has no spread")
    wait = synchronize or (lambda: None)
    seconds = []
    for _ in range(warmup + repeats):
        arguments = [setup()] if setup else []
        wait()
        start = clock()
        with garbage_waits():
            run(*arguments)
        wait()
        seconds.append((clock() - start) / items)
    return timing_of(seconds[warmup:])
