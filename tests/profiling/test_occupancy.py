"""Resident blocks against NVIDIA's own cuda_occupancy.h (CUDA 13.0), asked for an H100."""

import pytest

from yaie.profiling.occupancy import Multiprocessor, resident_blocks

BY_NVIDIA = {
    # threads, registers, shared bytes: blocks
    (32, 16, 0): 32,
    (64, 40, 0): 24,
    (100, 32, 0): 16,
    (128, 33, 0): 12,
    (128, 166, 17000): 3,
    (128, 123, 52000): 4,
    (128, 255, 0): 2,
    (256, 168, 0): 1,
    (256, 16, 115712): 2,
    (256, 16, 115713): 1,
    (512, 41, 4096): 2,
    (96, 16, 0): 21,
    (128, 16, 32329): 6,
    (1024, 64, 0): 1,
    (1024, 65, 0): 0,
}


@pytest.mark.parametrize(("kernel", "blocks"), BY_NVIDIA.items(), ids=str)
def test_as_nvidia_counts(kernel, blocks):
    """Each case is at an edge of a unit: of registers, of shared memory, or of whole warps."""
    assert resident_blocks(*kernel) == blocks


def test_a_smaller_card_holds_fewer():
    """Would catch a limit that is not taken from the card."""
    assert resident_blocks(256, 16, 100_000, Multiprocessor(shared=164 * 1024)) == 1
    assert resident_blocks(32, 16, 0, Multiprocessor(blocks=16)) == 16
    assert resident_blocks(256, 16, 0, Multiprocessor(threads=1536)) == 6
    assert resident_blocks(256, 64, 0, Multiprocessor(registers=32768)) == 2
