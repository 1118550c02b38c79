# expect: arguments of `run`, which `setup` returned
import time

from yaie.profiling.timing import garbage_waits, timing_of


def measure(run, *, setup=None, items=1, repeats=7, warmup=1, synchronize=None, clock=time.perf_counter):
    if repeats < 2:
        raise ValueError("no spread")
    wait, seconds = synchronize or (lambda: None), []
    for _ in range(warmup + repeats):
        given = setup() if setup else None
        with garbage_waits():
            wait()
            start = clock()
            run(given) if given is not None else run()
            wait()
            seconds.append((clock() - start) / items)
    return timing_of(seconds[warmup:])
