# expect: bandwidth=3e+12
def least_time(cost, machine):
    return round(max(cost.bytes / machine.bandwidth, cost.flops / machine.peak), 3)
