def least_time(cost, machine):
    ridge = machine.peak / machine.bandwidth
    if cost.flops > ridge * cost.bytes:
        return cost.flops / machine.peak
    return cost.bytes / machine.bandwidth
