from __future__ import annotations

import torch

from yaie.course.expect import expect, given

from ..common import decode


def check() -> None:
    for head_dim in (8, 16, 24, 32, 40, 128, 256):
        for element in sorted({0, 7, head_dim - 1, head_dim // 2 + 1}):
            key = torch.zeros(head_dim)
            key[element] = 1.0
            _expect_dot(torch.arange(1, head_dim + 1) / 64, key, f"a key of zeros with a 1 at {element}")
        _expect_dot(torch.full((head_dim,), 2.0 / head_dim), torch.ones(head_dim), "a key of ones")


def _expect_dot(query: torch.Tensor, key: torch.Tensor, text: str) -> None:
    """Two keys, one all zeros: its score is 0, so the weight of the other tells its own. Two heads: two warps."""
    head_dim = len(query)
    keys = torch.stack([torch.zeros(head_dim), key]).reshape(1, 2, 1, head_dim)
    values = torch.zeros_like(keys)
    values[0, 1, 0, 0] = values[0, 0, 0, 1] = 1.0
    first = "query 1/64, 2/64, ..." if query[0] != query[-1] else f"query of {query[0].item():g}"
    with given(f"head_dim {head_dim}, {first}, {text}; the query in both heads"):
        out = decode("paged_decode_2_warp_per_head", query.repeat(2, 1), keys, values, [0], 2)
        scores = (out[:, 0] / out[:, 1]).log2()
        expect(scores, torch.full((2,), float(query @ key)), "dot product in each head", tolerance=1e-4)
