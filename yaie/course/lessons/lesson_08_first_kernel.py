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
    for n in (5, 1, 256, 257, 1000):
        a, b, c = _numbers(n)
        with given(f"vector_add(a, b, c, {n}) with a = [0, 1, 2, ...], b = [1000, 2000, 3000, ...]"):
            module.vector_add(a, b, c, n)
            expect(c, a + b, "result c")


@LESSON.exercise(
    "8.2",
    title="Any grid, any number of elements",
    target="csrc/warmup/vector_add.cu:add_grid_stride",
    minutes=10,
    requires=("8.1",),
    task="Add two vectors with a grid that somebody else has chosen. Thread number t of the T threads in the grid "
    "takes the elements t, t + T, t + 2 T and so on, while they are below n. With T = 512 and n = 1100, thread 3 takes "
    "the elements 3, 515 and 1027, and thread 500 takes 500 and 1012.",
    hints=(
        "The guard of 8.1 becomes the condition of a loop. What is the step from one element of a thread to its next?",
        "The grid has `gridDim.x` blocks of `blockDim.x` threads. That product is the step. Start at the thread's "
        "number in the grid, as in 8.1.",
        "const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x; "
        "for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += stride) { ... }",
    ),
    mutants=(
        Mutant(
            "for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += stride) {",
            "if (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n) {",
            "Each thread worked on one element only. When there are more elements than threads, the rest stays as it "
            "was.",
        ),
        Mutant(
            "i += stride",
            "i += blockDim.x",
            "The step is the number of threads in one block. From the second block on, elements are computed twice, by "
            "threads of two blocks. The step is that of the whole grid: `gridDim.x * blockDim.x`.",
        ),
        Mutant(
            "i += stride",
            "i += gridDim.x",
            "The step is the number of blocks. It must be the number of threads in the grid: `gridDim.x * blockDim.x`.",
        ),
    ),
)
def check_grid_stride() -> None:
    module = native.module(FILE, "emulator", check=True)
    for n, blocks in ((300, 1), (5, 1), (5, 3), (1100, 2), (1024, 2), (1025, 4)):
        a, b, c = _numbers(n)
        with given(f"vector_add_grid_stride(a, b, c, {n}, {blocks}) with a = [0, 1, 2, ...], b = [1000, 2000, ...]"):
            module.vector_add_grid_stride(a, b, c, n, blocks)
            expect(c, a + b, "result c")
