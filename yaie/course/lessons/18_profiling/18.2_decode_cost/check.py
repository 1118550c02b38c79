from __future__ import annotations

from yaie.course.expect import expect, given
from yaie.profiling import costs


def check() -> None:
    names = ("num_seqs", "context_len", "num_heads", "num_kv_heads", "head_dim", "itemsize")
    for shape in ((1, 1, 1, 1, 1, 1), (1, 10, 4, 2, 8, 2), (3, 7, 8, 8, 16, 4), (64, 4096, 32, 8, 128, 2)):
        num_seqs, context_len, num_heads, num_kv_heads, head_dim, itemsize = shape
        with given(f"decode_cost({', '.join(f'{n}={v}' for n, v in zip(names, shape, strict=True))})"):
            cost = costs.decode_cost(*shape)
            numbers = [num_seqs * context_len * num_kv_heads * head_dim] * 2 + [num_seqs * num_heads * head_dim] * 2
            expect(cost.bytes, sum(numbers) * itemsize, "bytes (keys, values, query, output)")
            expect(cost.flops, num_seqs * num_heads * context_len * 4 * head_dim, "FLOPs (scores and sum of values)")
