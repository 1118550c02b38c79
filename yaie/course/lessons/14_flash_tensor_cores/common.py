"""What the checks of lesson 14 share."""

from __future__ import annotations

from pathlib import Path

import yaie.cuda

from ..lesson_13.common import module

RUNG = "flash_attention_4_tensor_cores"


def launchers(check: str) -> yaie.cuda.Module:
    """The launchers of the rung and of the `check.cu` beside a check."""
    return module(RUNG, Path(check).with_suffix(".cu"))
