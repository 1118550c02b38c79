"""The kernels of `csrc/` behind `yaie.kernels.api`: compiled on first use, for a GPU or for the emulator.

One module per family calls the family's launchers with tensors and registers them for the backends `cuda` and
`emulator`. All of them get their launchers from `module`, so a learner's function that is put into a file of
`csrc/` (`replaced`) runs wherever the engine's own would.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

import yaie.cuda

CSRC = Path(__file__).resolve().parents[3] / "csrc"
DTYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}  # as in csrc/common.cuh

# By path under csrc/: the text to compile in the place of the file's own. Filled by the course.
replaced: dict[str, str] = {}


def module(name: str, backend: str, *, check: bool = False) -> yaie.cuda.Module:
    """The launchers of `csrc/<name>`, such as "memory/copy_blocks.cu".

    `backend` is "cuda" or "emulator"; `check` (emulator only) looks for races, overruns and the like.
    """
    return _load(name, backend, check, replaced.get(name))


@cache
def _load(name: str, backend: str, check: bool, text: str | None) -> yaie.cuda.Module:
    if text is not None:
        raise NotImplementedError("compiling replaced text comes with the CUDA exercises")
    return yaie.cuda.load(CSRC / name, backend=backend, check=check)
