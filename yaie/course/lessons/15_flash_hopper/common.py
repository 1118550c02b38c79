"""What the checks of lesson 15 share."""

from __future__ import annotations

from pathlib import Path

import torch

import yaie.cuda
from yaie.course.expect import expect, given
from yaie.course.language import engine_seam
from yaie.kernels.ops.launching import DTYPES

WGMMA, OVERLAP = "flash_attention_5_wgmma", "flash_attention_6_overlap"


def launchers(rung: str, check: str) -> yaie.cuda.Module:
    """In the emulator's check mode, the launchers of the `check.cu` beside a check, and the rung's that it names."""
    return engine_seam.module(f"flash_attention/{rung}.cu", more=Path(check).with_suffix(".cu"))


def draws(*shape: int) -> torch.Tensor:
    """Small fractions at random, which float16 has exactly."""
    return torch.randint(-8, 9, shape, generator=torch.Generator().manual_seed(0)) / 8


def expect_attention(
    check: str, rung: str, q_len: int, kv_len: int, head_dim: int, heads: int = 1, causal: bool = False
) -> None:
    """Try a rung on random input; it must give what torch gives, without a finding.

    check: the file of the check, beside which its `check.cu` names the launcher
    """
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(n, heads, head_dim, generator=generator).half() for n in (q_len, kv_len, kv_len))
    out = torch.full_like(query, torch.nan)
    starts = [torch.tensor([0, n], dtype=torch.int32) for n in (q_len, kv_len)]
    counter = [torch.zeros(1, dtype=torch.int32)] if rung == OVERLAP else []
    sizes = [1, q_len, q_len, kv_len, heads, heads, head_dim]
    launch = getattr(launchers(rung, check), rung)
    mask, scale = "causal" if causal else "no mask", head_dim**-0.5
    with given(f"{rung}: {q_len} queries, {kv_len} keys, {heads} heads of {head_dim} columns, {mask}, random input"):
        launch(query, key, value, out, *counter, *starts, *sizes, scale, int(causal), DTYPES[query.dtype])
        inputs = query.float(), key.float(), value.float()
        note = "" if causal else _what_it_attended_to(out.float(), *inputs)
        expect(out.float(), _attention(*inputs, causal), "output", tolerance=2e-3, note=note, axes="query head column")


def _attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, causal: bool = False) -> torch.Tensor:
    by_head = (each.transpose(0, 1) for each in (query, key, value))
    behind = len(key) - len(query)
    mask = torch.ones(len(query), len(key)).tril(behind).bool() if causal else None
    out = torch.nn.functional.scaled_dot_product_attention(*by_head, attn_mask=mask)
    return out.transpose(0, 1).nan_to_num()  # no key: 0


def _what_it_attended_to(out: torch.Tensor, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> str:
    """What else than the attention asked for a result is, if that is something one knows."""
    parts = query.unflatten(-1, (-1, 64))  # [token, head, part, column]
    first = parts[:, :, :1].expand_as(parts).flatten(2)
    shifted = parts.flatten(1, 2)[:, [head + part for head in range(parts.shape[1]) for part in range(parts.shape[2])]]
    known = [
        (_attention(query, value, key), "Keys and values are exchanged."),
        (_attention(query, key, key), "The tiles of values hold keys."),
        (_attention(query, value, value), "The tiles of keys hold values."),
        (_attention(first, key, value), "All parts of the queries hold columns 0 to 63."),
        (
            _attention(shifted.view_as(query), key, value),
            "Head h has the parts from number h on; each head has several.",
        ),
        (_attention(query[:, :1].expand_as(query), key, value), "All heads have the queries of head 0."),
        (torch.full_like(out, torch.nan), "Nothing was written, as for queries without rows."),
    ]
    if len(key) > 128:
        known.append((_attention(query, key[128:], value[128:]), "The first 128 keys, a tile of them, are left out."))
    said = {text for wrong, text in known if torch.allclose(out, wrong, rtol=0, atol=2e-3, equal_nan=True)}
    return said.pop() if len(said) == 1 else ""
