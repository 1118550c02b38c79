"""Lesson 08: a first CUDA kernel: one thread per element, a guard, and a loop in steps of the whole grid."""

from __future__ import annotations

import torch

from yaie.course.expect import expect, given
from yaie.course.registry import Lesson, Mutant
from yaie.kernels import native

LESSON = Lesson(8, "first_kernel", "A first CUDA kernel", minutes=60)
FILE = "warmup/vector_add.cu"


def _numbers(n: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two vectors whose sums tell where each was taken from, and a result filled with a number that no sum gives."""
    a = torch.arange(n, dtype=torch.float32)
    return a, 1000 * (a + 1), torch.full((n,), -1.0)


@LESSON.exercise(
    "8.1",
    title="One thread per element",
    target="csrc/warmup/vector_add.cu:add_guarded",
    minutes=10,
    task="Add two vectors: thread number i of the grid computes element i. The grid is rounded up to whole blocks of "
    "256 threads, so the last block has threads too many; those must do nothing. With n = 5, threads 0 to 4 add one "
    "element each and threads 5 to 255 none.",
    hints=(
        "Which element is yours? Count the threads in all blocks before yours, then your place in your own block.",
        "`blockIdx.x * blockDim.x + threadIdx.x` is your number in the grid. Multiply as 64-bit numbers, because n may "
        "be larger than 2^31. Compare it with n before you touch memory.",
        "const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; "
        "if (i < n) { c[i] = a[i] + b[i]; }",
    ),
    mutants=(
        Mutant(
            "if (i < n) {",
            "if (i <= n) {",
            "The guard lets thread n through, but the elements are numbered 0 to n - 1.",
        ),
        Mutant(
            "static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x",
            "threadIdx.x",
            "`threadIdx.x` counts the threads of one block, from 0 in each. Every block worked on the first elements. "
            "Add the threads of the blocks before: `blockIdx.x * blockDim.x`.",
        ),
    ),
)
def check_guarded() -> None:
    module = native.module(FILE, "emulator", check=True)
    for n in (5, 256, 257, 1000):
        a, b, c = _numbers(n)
        with given(f"vector_add with n = {n}, a = [0, 1, 2, ...], b = [1000, 2000, 3000, ...]"):
            module.vector_add(a, b, c, n)
            expect(c, a + b, "result c")
