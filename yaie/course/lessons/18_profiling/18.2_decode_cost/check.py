from __future__ import annotations

from yaie.course.expect import expect, given
from yaie.profiling import costs


def check() -> None:
    names = ("num_seqs", "context_len", "num_heads", "num_kv_heads", "head_dim", "itemsize")
    for shape in ((1, 1, 1, 1, 1, 1), (1, 10, 4, 2, 8, 2), (3, 7, 8, 8, 16, 4), (64, 4096, 32, 8, 128, 2)):
        num_seqs, context_len, num_heads, num_kv_heads, head_dim, itemsize = shape
        with given(f"decode_cost({', '.join(f'{n}={v}' for n, v in zip(names, shape, strict=True))})"):
            cost = costs.decode_cost(*shape)
            cached, new = num_seqs * context_len * num_kv_heads * head_dim, num_seqs * num_heads * head_dim
            note = f"Numbers: keys {cached}, values {cached}, query {new}, output {new}. Each takes `itemsize` bytes."
            expect(cost.bytes, 2 * (cached + new) * itemsize, "bytes (keys, values, query, output)", note=note)
            scores, each = num_seqs * num_heads * context_len, 2 * head_dim
            note = f"Scores: {scores}. Each takes {each} FLOPs, and to add its weighted value as many."
            expect(cost.flops, scores * 2 * each, "FLOPs (scores and sum of values)", note=note)
