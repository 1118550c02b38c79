from __future__ import annotations

import torch

from yaie.course.expect import given
from yaie.kernels import attention

from ..common import expect_tensor


def check() -> None:
    for num_seqs, q_len, num_heads, num_kv_heads, head_dim, dtype in (
        (1, 1, 1, 1, 1, torch.float32),
        (1, 1, 4, 2, 1, torch.float32),
        (1, 2, 4, 2, 1, torch.float32),
        (1, 2, 2, 1, 1, torch.float32),
        (1, 2, 4, 2, 2, torch.float32),
        (1, 3, 3, 3, 2, torch.float32),
        (2, 3, 6, 2, 1, torch.float32),
        (2, 5, 7, 1, 3, torch.float32),
        (1, 17, 8, 4, 2, torch.float32),
        (1, 2, 4, 2, 1, torch.float16),
    ):
        axes = [torch.arange(size) for size in (num_seqs, q_len, num_heads, head_dim)]
        seq, token, head, number = torch.meshgrid(*axes, indexing="ij")
        query = (1000.0 * seq + 100 * head + token + number / 4).to(dtype)
        group = num_heads // num_kv_heads
        numbers = [n / 4 for n in range(head_dim)]
        expected = [
            [
                [
                    [1000 * s + 100 * (k * group + g) + i + n for n in numbers]
                    for g in range(group)
                    for i in range(q_len)
                ]
                for k in range(num_kv_heads)
            ]
            for s in range(num_seqs)
        ]
        sizes = f"sequences: {num_seqs}, tokens: {q_len}, heads: {num_heads}, numbers in a head: {head_dim}"
        value = "1000 * sequence + 100 * head + token" + " + number / 4" * (head_dim > 1)
        value += " (float16)" * (dtype == torch.float16)
        with given(f"group_heads(query, {num_kv_heads}); {sizes}; each number is {value}"):
            got = attention.group_heads(query, num_kv_heads)
            expect_tensor(got, torch.tensor(expected).float(), "grouped query", dtype)
