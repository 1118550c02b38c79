from yaie.profiling.occupancy import H100, REGISTER_UNIT, SHARED_RESERVED, SHARED_UNIT, WARP, WARP_UNIT


def resident_blocks(threads, registers, shared, has=H100):
    def pieces(number, unit):
        whole, rest = divmod(number, unit)
        return (whole + bool(rest)) * unit

    warps = pieces(threads, WARP) // WARP
    enough_for = {
        "blocks": has.blocks,
        "threads": has.threads // pieces(threads, WARP),
        "registers": has.registers // pieces(registers * WARP, REGISTER_UNIT) // WARP_UNIT * WARP_UNIT // warps,
        "shared": has.shared // pieces(shared + SHARED_RESERVED, SHARED_UNIT),
    }
    return min(enough_for.values())
