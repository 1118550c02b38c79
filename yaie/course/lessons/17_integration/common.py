"""What the checks of lesson 17 share."""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from yaie.course.expect import Mismatch

LOOKS = {"item", "tolist", "numpy", "cpu", "equal", "allclose", "bincount"}
LOOKS |= {"nonzero", "argwhere", "masked_select", "unique", "unique_consecutive"}  # how large is the result?
LOOKS |= {"__bool__", "__int__", "__index__", "__float__", "__contains__", "__array__"}


class NoLooks(TorchFunctionMode):
    """Refuses what makes the host look at the numbers of a tensor, where it would wait for a GPU."""

    def __init__(self, headline: str, note: str) -> None:
        super().__init__()
        self.headline, self.note = headline, note

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if what := _look(getattr(function, "__name__", ""), args, kwargs or {}):
            raise Mismatch("looks at numbers", what, "no look at its numbers", "", self.note, self.headline)
        return function(*args, **(kwargs or {}))


def _look(name: str, args: Any, kwargs: Any) -> str:
    """What the host has to know in such a call; nothing where it looks at no number."""
    if name in LOOKS:
        return f"`{name}` of a tensor"
    if name == "where" and len(args) + len(kwargs) == 1:
        return "the number of places that `where` finds in a mask"
    if name not in ("__getitem__", "__setitem__"):
        return ""
    tensors = [
        each for each in (args[1] if isinstance(args[1], tuple) else args[1:2]) if isinstance(each, torch.Tensor)
    ]
    if any(each.ndim == 0 and each.dtype != torch.bool for each in tensors):
        return "a number of a tensor as an index"
    # One number for all is written without counting.
    masks = any(each.dtype == torch.bool for each in tensors) and getattr(args[-1], "ndim", 0) > 0
    return "the number of rows in a mask" if masks else ""
