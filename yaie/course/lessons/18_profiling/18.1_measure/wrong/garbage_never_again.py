# expect: whether Python may collect garbage afterwards
import gc
import time

from yaie.profiling.timing import timing_of


def measure(run, *, setup=None, items=1, repeats=7, warmup=1, synchronize=None, clock=time.perf_counter):
    if repeats < 2:
        raise ValueError("no spread")
    gc.disable()
    wait, seconds = synchronize or (lambda: None), []
    for _ in range(warmup + repeats):
        given = () if setup is None else (setup(),)
        wait()
        start = clock()
        run(*given)
        wait()
        seconds.append((clock() - start) / items)
    return timing_of(seconds[warmup:])
