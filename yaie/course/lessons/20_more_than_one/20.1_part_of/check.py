from __future__ import annotations

import torch

from yaie.course.expect import expect, given
from yaie.parallel import shards

ALL = object()
# end of the name, shape, KV heads, and for each rank the indices that it has of each dimension
CASES: tuple[tuple[str, list[int], int, list[tuple]], ...] = (
    ("mlp.up_proj.weight", [4, 3], 1, [(ALL, ALL)]),
    ("mlp.down_proj.bias", [3], 1, [(ALL,)]),
    ("mlp.up_proj.weight", [4, 3], 2, [((0, 1), ALL), ((2, 3), ALL)]),
    ("mlp.down_proj.weight", [3, 4], 2, [(ALL, (0, 1)), (ALL, (2, 3))]),
    ("mlp.down_proj.weight", [4, 2], 2, [(ALL, (0,)), (ALL, (1,))]),
    ("mlp.gate_proj.bias", [4], 2, [((0, 1),), ((2, 3),)]),
    ("mlp.down_proj.bias", [4], 2, [(ALL,), ((),)]),
    ("self_attn.o_proj.bias", [4], 2, [(ALL,), ((),), ((),), ((),)]),
    ("self_attn.o_proj.weight", [3, 4], 2, [(ALL, (0,)), (ALL, (1,)), (ALL, (2,)), (ALL, (3,))]),
    ("input_layernorm.weight", [4], 2, [(ALL,), (ALL,)]),
    ("self_attn.q_norm.weight", [2], 2, [(ALL,), (ALL,)]),
    ("self_attn.q_proj.weight", [8, 3], 2, [((0, 1), ALL), ((2, 3), ALL), ((4, 5), ALL), ((6, 7), ALL)]),
    ("self_attn.k_proj.weight", [8, 3], 4, [((0, 1, 2, 3), ALL), ((4, 5, 6, 7), ALL)]),
    ("self_attn.k_proj.weight", [4, 3], 2, [((0, 1), ALL), ((0, 1), ALL), ((2, 3), ALL), ((2, 3), ALL)]),
    ("self_attn.v_proj.bias", [4], 2, [((0, 1),), ((0, 1),), ((2, 3),), ((2, 3),)]),
    ("self_attn.v_proj.weight", [2, 3], 1, [(ALL, ALL)] * 4),
    ("self_attn.q_proj.weight", [4, 3], 1, [((0,), ALL), ((1,), ALL), ((2,), ALL), ((3,), ALL)]),
    ("embed_tokens.weight", [5, 2], 1, [((0, 1, 2), ALL), ((3, 4), ALL)]),
    ("lm_head.weight", [5, 2], 1, [((0, 1), ALL), ((2, 3), ALL), ((4,), ALL), ((), ALL)]),
)


def check() -> None:
    for end, shape, num_kv_heads, ranks in CASES:
        size = len(ranks)
        name = end if end.endswith("head.weight") else f"model.{end}" if "embed" in end else f"model.layers.0.{end}"
        for rank, wanted in enumerate(ranks):
            with given(f"part_of({name!r}, {shape}, num_kv_heads={num_kv_heads}, rank={rank}, size={size})"):
                part = shards.part_of(name, shape, num_kv_heads, rank, size)
                expect(type(part), tuple, "type of the part")
                expect([type(each) for each in part], [slice] * len(shape), "types in the tuple")
                had = [torch.arange(count)[each].tolist() for count, each in zip(shape, part, strict=True)]
                lists = [list(range(n)) if each is ALL else list(each) for n, each in zip(shape, wanted, strict=True)]
                expect(had, lists, "indices of each dimension that the rank has")
