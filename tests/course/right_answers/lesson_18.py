"""Three differently written right answers for each exercise of lesson 18."""

ANSWERS = {
    "18.1": (
        """
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
""",
        """
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
""",
        """
import gc
import statistics

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
""",
    ),
    "18.2": (
        """
def decode_cost(num_seqs, context_len, num_heads, num_kv_heads, head_dim, itemsize):
    keys = values = num_seqs * context_len * num_kv_heads * head_dim
    query = output = num_seqs * num_heads * head_dim
    products = num_seqs * num_heads * context_len * head_dim
    return Cost((keys + values + query + output) * itemsize, 2 * products + 2 * products)
""",
        """
def decode_cost(num_seqs, context_len, num_heads, num_kv_heads, head_dim, itemsize):
    per_head = head_dim * itemsize
    moved = 2 * num_seqs * per_head * (context_len * num_kv_heads + num_heads)
    return Cost(bytes=moved, flops=4 * head_dim * num_heads * context_len * num_seqs)
""",
        """
def decode_cost(num_seqs, context_len, num_heads, num_kv_heads, head_dim, itemsize):
    cost = Cost(0, 0)
    for _ in range(num_seqs):
        cache = 2 * context_len * num_kv_heads * head_dim * itemsize
        rest = 2 * num_heads * head_dim * itemsize
        flops = sum(2 * head_dim + 2 * head_dim for _ in range(num_heads)) * context_len
        cost = Cost(cost.bytes + cache + rest, cost.flops + flops)
    return cost
""",
    ),
    "18.3": (
        """
def least_time(cost, machine):
    moving = cost.bytes / machine.bandwidth
    computing = cost.flops / machine.peak
    return moving if moving > computing else computing
""",
        """
def least_time(cost, machine):
    return sorted([cost.flops / machine.peak, cost.bytes / machine.bandwidth])[-1]
""",
        """
def least_time(cost, machine):
    ridge = machine.peak / machine.bandwidth
    if cost.flops > ridge * cost.bytes:
        return cost.flops / machine.peak
    return cost.bytes / machine.bandwidth
""",
    ),
}
