"""What the checks of lesson 17 share."""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from yaie.course.expect import Mismatch

LOOKS = {"item", "tolist", "numpy", "cpu", "equal", "allclose", "bincount"}
LOOKS |= {"nonzero", "argwhere", "masked_select", "unique", "unique_consecutive"}  # how large is the result?
LOOKS |= {"__bool__", "__int__", "__index__", "__float__", "__contains__"}


class NoLooks(TorchFunctionMode):
    """Refuses what makes the host look at the numbers of a tensor, where it would wait for a GPU."""

    def __init__(self, headline: str, note: str) -> None:
        super().__init__()
        self.headline, self.note = headline, note

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(function, "__name__", "")
        masks = name in ("__getitem__", "__setitem__") and getattr(args[1], "dtype", None) == torch.bool
        masks = masks and getattr(args[-1], "ndim", 0) > 0  # one number for all is written without counting
        if name in LOOKS or masks:
            what = "the number of rows in a mask" if masks else f"`{name}` of a tensor"
            raise Mismatch("looks at numbers", what, "no look at its numbers", "", self.note, self.headline)
        return function(*args, **(kwargs or {}))
