"""What the checks of lesson 15 share."""

from __future__ import annotations

from pathlib import Path

import torch

import yaie.cuda
from yaie.course.language import engine_seam

WGMMA, OVERLAP = "flash_attention_5_wgmma", "flash_attention_6_overlap"


def launchers(rung: str, check: str) -> yaie.cuda.Module:
    """The launchers of a rung in the emulator's check mode, and those of the `check.cu` beside a check."""
    more = Path(check).with_suffix(".cu")
    return engine_seam.module(f"flash_attention/{rung}.cu", more=more if more.is_file() else None)


def draws(*shape: int) -> torch.Tensor:
    """Small fractions at random, which float16 has exactly."""
    return torch.randint(-8, 9, shape, generator=torch.Generator().manual_seed(0)) / 8
