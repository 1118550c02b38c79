from __future__ import annotations

import torch

from yaie.course.expect import given
from yaie.kernels import attention

from ..common import expect_tensor


def check() -> None:
    for num_seqs, q_len, num_heads, num_kv_heads in (
        (1, 1, 1, 1),
        (1, 1, 4, 2),
        (1, 2, 4, 2),
        (1, 2, 2, 1),
        (1, 3, 3, 3),
        (2, 3, 6, 2),
        (2, 5, 7, 1),
        (1, 17, 8, 4),
    ):
        axes = [torch.arange(size) for size in (num_seqs, q_len, num_heads, 1)]
        seq, token, head, number = torch.meshgrid(*axes, indexing="ij")
        query = (1000 * seq + 100 * head + token + 0 * number).float()
        group = num_heads // num_kv_heads
        expected = [
            [
                [[1000 * s + 100 * (k * group + g) + i] for g in range(group) for i in range(q_len)]
                for k in range(num_kv_heads)
            ]
            for s in range(num_seqs)
        ]
        with given(
            f"group_heads(query, {num_kv_heads}): {num_seqs} sequences, {q_len} tokens, {num_heads} heads of one "
            "number, which is 1000 * sequence + 100 * head + token"
        ):
            got = attention.group_heads(query, num_kv_heads)
            expect_tensor(got, torch.tensor(expected).float(), "grouped query", torch.float32)
