"""How many thread blocks a multiprocessor holds at a time, from what one of them needs.

The rules are those of NVIDIA's cuda_occupancy.h, for cards from compute capability 8.0 on.
"""

from __future__ import annotations

from dataclasses import dataclass

WARP = 32
REGISTER_UNIT = 256  # registers of a warp are given out in pieces of so many
WARP_UNIT = 4  # a multiprocessor has four parts with registers of their own, and they hold equally many warps
SHARED_UNIT = 128  # bytes of shared memory are given out in pieces of so many
SHARED_RESERVED = 1024  # bytes of shared memory that the system takes for each block


@dataclass(frozen=True)
class Multiprocessor:
    """What a multiprocessor has for the blocks that it holds."""

    threads: int = 2048
    blocks: int = 32
    registers: int = 65536
    shared: int = 228 * 1024  # bytes


H100 = Multiprocessor()  # an H200, too


def resident_blocks(threads: int, registers: int, shared: int, has: Multiprocessor = H100) -> int:
    """Thread blocks of a kernel that a multiprocessor holds at a time; 0 where not even one fits.

    Args:
        threads: of a block. registers: of a thread. shared: bytes of a block, static and dynamic.
        has: what the multiprocessor has.
    """
    warps = -(-threads // WARP)
    warp_registers = _round_up(registers * WARP, REGISTER_UNIT)
    block_shared = _round_up(shared + SHARED_RESERVED, SHARED_UNIT)
    warps_by_registers = has.registers // warp_registers // WARP_UNIT * WARP_UNIT
    limits = (has.blocks, has.threads // WARP // warps, warps_by_registers // warps, has.shared // block_shared)
    return min(limits)


def _round_up(number: int, unit: int) -> int:
    return -(-number // unit) * unit
