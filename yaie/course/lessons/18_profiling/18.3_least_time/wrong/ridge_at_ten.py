# expect: bandwidth=3e+12
def least_time(cost, machine):
    if cost.flops > 10 * cost.bytes:
        return cost.flops / machine.peak
    return cost.bytes / machine.bandwidth
