import time

from yaie.profiling.timing import garbage_waits, timing_of


def measure(run, *, setup=None, items=1, repeats=7, warmup=1, synchronize=None, clock=time.perf_counter):
    if not repeats >= 2:
        raise ValueError(repeats)

    def once():
        x = setup() if setup else None
        with garbage_waits():
            if synchronize:
                synchronize()
            t = -clock()
            run(x) if setup else run()
            if synchronize:
                synchronize()
            return (t + clock()) / items

    for _ in range(warmup):
        once()
    return timing_of([once() for _ in range(repeats)])
