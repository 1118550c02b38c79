def least_time(cost, machine):
    moving = cost.bytes / machine.bandwidth
    computing = cost.flops / machine.peak
    return moving if moving > computing else computing
