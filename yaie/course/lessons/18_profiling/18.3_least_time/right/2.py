def least_time(cost, machine):
    return sorted([cost.flops / machine.peak, cost.bytes / machine.bandwidth])[-1]
