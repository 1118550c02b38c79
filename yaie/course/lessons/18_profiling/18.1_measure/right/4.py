import time

from yaie.profiling.timing import garbage_waits, timing_of


def measure(run, *, setup=None, items=1, repeats=7, warmup=1, synchronize=None, clock=time.perf_counter):
    if repeats < 2:
        raise ValueError(f"{repeats} runs have no spread")
    wait = synchronize if synchronize is not None else lambda: None
    go = (lambda: run(setup())) if setup is not None else run
    for _ in range(warmup):  # off the clock, so garbage may be collected
        go()
    seconds = []
    for _ in range(repeats):
        argument = [setup()] if setup is not None else []
        with garbage_waits():
            wait()
            begin = clock()
            run(*argument)
            wait()
            end = clock()
        seconds.append((end - begin) / items)
    return timing_of(seconds)
