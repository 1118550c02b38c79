# expect: number of blocks
from yaie.profiling.occupancy import H100


def resident_blocks(threads, registers, shared, has=H100):
    by_shared = has.shared // max(1, shared)
    return min(has.blocks, has.threads // threads, has.registers // (threads * registers), by_shared)
