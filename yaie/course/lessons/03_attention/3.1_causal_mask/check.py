from __future__ import annotations

import torch

from yaie.course.expect import expect, given
from yaie.kernels import attention


def check() -> None:
    for q_len, kv_len, offset in (
        (1, 1, 0),
        (1, 3, 2),
        (2, 2, 0),
        (2, 4, 2),
        (3, 3, 0),
        (2, 5, 1),
        (1, 4, 0),
        (5, 17, 12),
        (16, 33, 15),
    ):
        with given(f"causal_mask(q_len={q_len}, kv_len={kv_len}, offset={offset})"):
            got = attention.causal_mask(q_len, kv_len, offset)
            expect(isinstance(got, torch.Tensor), True, "result, `isinstance(result, torch.Tensor)`")
            rows = [[key <= offset + query for key in range(kv_len)] for query in range(q_len)]
            expect(got, rows, "mask (one row per query)")
            expect(str(got.dtype), "torch.bool", "dtype of the mask")
