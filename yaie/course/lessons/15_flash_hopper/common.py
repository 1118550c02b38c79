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


def expect_attention(check: str, rung: str, q_len: int, kv_len: int, head_dim: int, heads: int = 1) -> None:
    """Try a rung on random input without a mask; it must give what torch gives, without a finding.

    check: the file of the check, beside which its `check.cu` names the launcher
    """
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(n, heads, head_dim, generator=generator).half() for n in (q_len, kv_len, kv_len))
    out = torch.full_like(query, torch.nan)
    starts = [torch.tensor([0, n], dtype=torch.int32) for n in (q_len, kv_len)]
    counter = [torch.zeros(1, dtype=torch.int32)] if rung == OVERLAP else []
    sizes = [1, q_len, q_len, kv_len, heads, heads, head_dim]
    launch = getattr(launchers(rung, check), rung)
    with given(f"{rung}: {q_len} queries, {kv_len} keys, {heads} heads of {head_dim} columns, no mask, random input"):
        launch(query, key, value, out, *counter, *starts, *sizes, head_dim**-0.5, 0, DTYPES[query.dtype])
        by_head = (each.float().transpose(0, 1) for each in (query, key, value))
        wanted = torch.nn.functional.scaled_dot_product_attention(*by_head).transpose(0, 1).nan_to_num()  # no key: 0
        expect(out.float(), wanted, "output", tolerance=2e-3)
