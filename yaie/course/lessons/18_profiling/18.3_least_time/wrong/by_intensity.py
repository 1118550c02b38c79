# expect: It raised ZeroDivisionError
def least_time(cost, machine):
    if cost.flops / cost.bytes < machine.peak / machine.bandwidth:
        return cost.bytes / machine.bandwidth
    return cost.flops / machine.peak
