from __future__ import annotations

import math

from yaie.course.expect import expect, given
from yaie.profiling import occupancy
from yaie.profiling.occupancy import Multiprocessor

# threads, registers, shared bytes: blocks on an H100, as NVIDIA's cuda_occupancy.h has them
ON_AN_H100 = {
    (256, 32, 0): 8,
    (32, 16, 0): 32,
    (128, 32, 0): 16,
    (128, 33, 0): 12,
    (64, 40, 0): 24,
    (100, 32, 0): 16,
    (100, 16, 0): 16,
    (200, 32, 0): 9,
    (1024, 64, 0): 1,
    (1024, 65, 0): 0,
    (128, 255, 0): 2,
    (256, 16, 115_712): 2,
    (256, 16, 115_713): 1,
    (256, 16, 115_840): 1,  # a multiple of 128: what is reserved decides, not the rounding
    (32, 16, 6_272): 32,
    (32, 16, 6_273): 31,
    (128, 166, 17_000): 3,
    (128, 123, 52_000): 4,
    (256, 168, 0): 1,
    (512, 41, 4_096): 2,
    (96, 16, 0): 21,
    (128, 16, 32_329): 6,
}
OTHERS = (
    (Multiprocessor(shared=167_936), (256, 16, 100_000), 1),
    (Multiprocessor(threads=1536), (256, 16, 0), 6),
    (Multiprocessor(blocks=16), (32, 16, 0), 16),
    (Multiprocessor(registers=32_768), (256, 64, 0), 2),
)


def _limits(threads: int, registers: int, shared: int, has: Multiprocessor) -> str:
    """For how many blocks there is enough of each."""
    warps = math.ceil(threads / 32)
    parts = 4 * (has.registers // 4 // (256 * math.ceil(registers * 32 / 256)))
    enough = has.threads // 32 // warps, parts // warps, has.shared // (128 * math.ceil((shared + 1024) / 128))
    by_threads, by_registers, by_shared = (str(each) if each < has.blocks else "all of these" for each in enough)
    return (
        f"There are {has.blocks} blocks at most. Threads are enough for {by_threads}, registers for {by_registers}, "
        f"shared memory for {by_shared}."
    )


def check() -> None:
    for kernel, blocks in ON_AN_H100.items():
        with given(f"resident_blocks(threads={kernel[0]}, registers={kernel[1]}, shared={kernel[2]}) on an H100"):
            found = occupancy.resident_blocks(*kernel)
            expect(found, blocks, "number of blocks", note=_limits(*kernel, occupancy.H100))
            expect(type(found).__name__, "int", "type of the result")
    for has, kernel, blocks in OTHERS:
        with given(f"resident_blocks{kernel} on {has}"):
            note = _limits(*kernel, has)
            expect(occupancy.resident_blocks(*kernel, has), blocks, "number of blocks", note=note)
