# expect: number of blocks
from yaie.profiling.occupancy import H100, REGISTER_UNIT, SHARED_RESERVED, SHARED_UNIT, WARP, WARP_UNIT


def resident_blocks(threads, registers, shared, has=H100):
    warps = -(-threads // WARP)
    warp_registers = -(-registers * WARP // REGISTER_UNIT) * REGISTER_UNIT
    block_shared = -(-(shared + SHARED_RESERVED) // SHARED_UNIT) * SHARED_UNIT
    by_registers = has.registers // warp_registers // WARP_UNIT * WARP_UNIT // warps
    return min(has.blocks, has.threads // threads, by_registers, has.shared // block_shared)
