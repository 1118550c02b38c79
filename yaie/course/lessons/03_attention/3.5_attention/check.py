from __future__ import annotations

import math

import torch

from yaie.course.expect import expect, given
from yaie.kernels import attention

from ..common import expect_tensor, kind, numbers


def check() -> None:
    _check_attention([[2.0, 0, 0, 0]], [[1.0, 0, 0, 0], [0, 0, 0, 0]], [[10.0], [20.0]])
    _check_attention([[2.0, 0, 0, 0]], [[1.0, 0, 0, 0], [0, 0, 0, 0]], [[10.0], [20.0]], scale=2.0)
    _check_attention([[2.0, 0, 0, 0]], [[1.0, 0, 0, 0], [0, 0, 0, 0]], [[10.0], [20.0]], scale=0.0)
    _check_attention([[1.0], [1.0]], [[1.0], [2.0]], [[10.0], [20.0]], mask=[[True, False], [True, True]])
    _check_attention([[1.0]], [[1.0], [2.0]], [[10.0], [20.0]], mask=[[False, False]])
    _check_attention([[100.0]], [[2.0], [1.0]], [[10.0], [20.0]])
    _check_attention([[100.0], [-100.0]], [[2.0], [4.0]], [[10.0], [20.0]])
    _check_attention([[400.0]], [[400.0], [400.0]], [[1.0], [3.0]], dtype=torch.float16)
    _check_attention([[1.0]], [[1.0], [2.0]], [[1000.0], [2000.0]], dtype=torch.float16)
    _check_attention([[1.0]], [[1.0], [2.0]], [[10.0], [20.0]], dtype=torch.float64)
    for seed, (num_seqs, q_len, kv_len, num_heads, num_kv_heads, head_dim) in enumerate(
        ((1, 1, 3, 2, 1, 4), (1, 3, 3, 4, 2, 4), (2, 3, 5, 2, 2, 2), (2, 5, 17, 7, 1, 16), (1, 16, 33, 8, 4, 8))
    ):
        query = numbers(num_seqs, q_len, num_heads, head_dim, seed=seed)
        key, value = numbers(2, num_seqs, kv_len, num_kv_heads, head_dim, seed=seed + 10).unbind()
        text = f"sequences: {num_seqs}, queries: {q_len}, keys: {kv_len}, heads: {num_heads}, KV heads: {num_kv_heads}"
        causal = torch.ones(q_len, kv_len).tril(kv_len - q_len).bool()
        padded = causal.repeat(num_seqs, 1, 1)
        padded[-1, :, :1] = False
        for mask, words in ((None, "no mask"), (causal, "causal mask"), (padded, "a mask per sequence")):
            _compare(query, key, value, mask, None, f"random numbers; {text}, head_dim: {head_dim}; {words}")


def _check_attention(query, key, value, mask=None, scale=None, dtype=torch.float32) -> None:
    """One sequence and one head, given as rows; values have one number and are padded with zeros to head_dim."""
    head_dim = len(query[0])
    padded = [[*row, *[0.0] * (head_dim - 1)] for row in value]
    rows = [torch.tensor(rows, dtype=dtype)[None, :, None] for rows in (query, key, padded)]
    more = "".join(f", {name}={given}" for name, given in (("mask", mask), ("scale", scale)) if given is not None)
    more += f", all in {dtype}".replace("torch.", "") if dtype != torch.float32 else ""
    text = f"query {query}, key {key}, value {value}{more} (one head)"
    _compare(*rows, None if mask is None else torch.tensor(mask), scale, text)


def _compare(query, key, value, mask, scale, text) -> None:
    out, lse = _attention_slowly(query, key, value, mask, scale)
    arguments = {"query": query, "key": key, "value": value} | ({} if mask is None else {"mask": mask})
    before = {name: tensor.clone() for name, tensor in arguments.items()}
    with given(f"attention({text})" if text.startswith("query") else f"attention of {text}"):
        more = () if mask is None and scale is None else (mask, scale)
        got = attention.attention(query, key, value, *more)
        form = f"a tuple of {len(got)}" if isinstance(got, tuple) else kind(got)
        expect(form, "a tuple of 2", "form of the result, (output, lse),")
        dtype = torch.promote_types(query.dtype, torch.float32)
        results = [(got[0], out, "output"), (got[1], lse, "lse")]
        # A query that sees no key: its lse says what happened before the division.
        for result, expected, what in reversed(results) if lse.isinf().any() else results:
            expect_tensor(result, expected, what, dtype)
        for name, tensor in arguments.items():
            what = f"argument `{name}` after the call, which should be as before,"
            expect_tensor(tensor, before[name], what, tensor.dtype)


def _attention_slowly(query, key, value, mask, scale) -> tuple[torch.Tensor, torch.Tensor]:
    """The definition, one query and head at a time, in float64."""
    num_seqs, q_len, num_heads, head_dim = query.shape
    group = num_heads // key.shape[2]
    scale = 1 / math.sqrt(head_dim) if scale is None else scale
    out = torch.zeros(query.shape, dtype=torch.float64)
    lse = torch.full(query.shape[:-1], -math.inf, dtype=torch.float64)
    for s, i, h in torch.cartesian_prod(*map(torch.arange, (num_seqs, q_len, num_heads))).tolist():
        row = torch.ones(key.shape[1], dtype=torch.bool) if mask is None else mask[i] if mask.ndim == 2 else mask[s, i]
        keys, values = key[s, row, h // group].double(), value[s, row, h // group].double()
        if len(keys):
            scores = keys @ query[s, i, h].double() * scale
            out[s, i, h], lse[s, i, h] = scores.softmax(0) @ values, scores.logsumexp(0)
    return out, lse
