"""Vector addition: 12 bytes an element, no reuse."""

from __future__ import annotations

import torch

from yaie.bench.kernel_cases import Case, Setting, Work, filled
from yaie.profiling.costs import Cost


def cases(setting: Setting) -> list[Case]:
    n = 1 << (26 if setting.real else 18)

    def make() -> Work:
        a, b, out = setting.random(n), setting.random(n), setting.random(n)
        module = setting.module("warmup/vector_add.cu")
        return Work(
            ours={
                "vector_add": filled(module.vector_add, out, a, b, out, n),
                "vector_add_grid_stride": filled(module.vector_add_grid_stride, out, a, b, out, n, 1024),
            },
            peers={"torch.add": lambda: torch.add(a, b, out=out)},
            wanted=lambda: a + b,
            clear=lambda: out.fill_(torch.nan),
        )

    return [Case(f"vector add, {n >> 20 or n / 2**20} Mi floats", make, Cost(bytes=12 * n, flops=n))]
