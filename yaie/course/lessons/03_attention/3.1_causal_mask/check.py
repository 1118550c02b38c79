from __future__ import annotations

import torch._dynamo  # noqa: F401, the device "meta" needs it, and it takes a second

from yaie.course.expect import expect, given
from yaie.kernels import attention

from ..common import kind


def check() -> None:
    for q_len, kv_len, offset in (
        (2, 6, 2),  # each likely mistake gives another mask here
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
            expect(kind(got), "Tensor", "type of the result")
            expect(list(got.shape), [q_len, kv_len], "shape of the mask", of=got)
            rows = [[key <= offset + query for key in range(kv_len)] for query in range(q_len)]
            expect(got, rows, "mask (one row per query)")
            expect(str(got.dtype), "torch.bool", "dtype of the mask")
    with given('causal_mask(q_len=2, kv_len=4, offset=2, device="meta")'):  # a device that is always there
        got = attention.causal_mask(2, 4, 2, "meta")
        expect(str(got.device), "meta", "device of the mask")
