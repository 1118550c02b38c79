from math import ceil

from yaie.profiling.occupancy import H100


def resident_blocks(threads, registers, shared, has=H100):
    warps = ceil(threads / 32)
    of_warp = ceil(registers / 8) * 256
    of_block = ceil((shared + 1024) / 128) * 128
    by_registers = has.registers // of_warp
    by_registers -= by_registers % 4
    return min(has.blocks, has.threads // (32 * warps), by_registers // warps, has.shared // of_block)
