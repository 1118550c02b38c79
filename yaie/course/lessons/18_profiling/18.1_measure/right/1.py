import time

from yaie.profiling.timing import garbage_waits, timing_of


def measure(run, *, setup=None, items=1, repeats=7, warmup=1, synchronize=None, clock=time.perf_counter):
    if repeats < 2:
        raise ValueError("at least 2 repeats")
    times = []
    for number in range(-warmup, repeats):
        given = [] if setup is None else [setup()]
        with garbage_waits():
            if synchronize is not None:
                synchronize()
            begin = clock()
            run(*given)
            if synchronize is not None:
                synchronize()
            end = clock()
        if number >= 0:
            times.append((end - begin) / items)
    return timing_of(times)
