from yaie.profiling.occupancy import H100


def resident_blocks(threads, registers, shared, has=H100):
    warps = (threads + 31) // 32
    warp_registers = (registers * 32 + 255) // 256 * 256
    part = has.registers // 4 // warp_registers  # warps that a quarter of the multiprocessor has registers for
    bytes_of_block = (shared + 1024 + 127) // 128 * 128
    blocks = 0
    while (
        blocks < has.blocks
        and (blocks + 1) * warps * 32 <= has.threads
        and (blocks + 1) * warps <= 4 * part
        and (blocks + 1) * bytes_of_block <= has.shared
    ):
        blocks += 1
    return blocks
