"""What the checked functions of all families are made of.

Their checks raise ValueErrors that name what was wrong and what was expected. What they look at are numbers (block ids,
slots, lengths), and to look at numbers on a GPU the CPU has to wait for it: the engine makes these numbers itself and
calls its `Operations`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from yaie.kernels import ops
from yaie.kernels.ops.launching import BackendError, Family

INTEGERS = (torch.int32, torch.int64)
Backend = str | Family  # "auto", the name of a backend, or its operations


def checked(contract: type[Family]) -> Callable[[Callable], Callable]:
    """Adds what an operation of the same name in `contract` says about itself to what a function says."""

    def add(function: Callable) -> Callable:
        said = inspect.getdoc(getattr(contract, function.__name__)), function.__doc__
        function.__doc__ = "\n\n".join(filter(None, said))
        return function

    return add


def run(backend: Backend, operation: str, tensor: Tensor, *arguments: Any, **more: Any) -> Any:
    """Call an operation of the backend that computes for tensors where `tensor` is."""
    if not isinstance(backend, str):
        return getattr(backend, operation)(*arguments, **more)
    name = ops.resolve(backend, tensor.is_cuda, ops.obstacle)
    try:
        return getattr(ops.operations(name), operation)(*arguments, **more)
    except BackendError:
        if backend != "auto" or name == "torch":
            raise
        return getattr(ops.operations("torch"), operation)(*arguments, **more)


def require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def describe(tensor: Tensor) -> str:
    return f"{tensor.dtype} {list(tensor.shape)} on {tensor.device}"


class Sizes(dict[str, int]):
    """The sizes that the tensors of a call agree on, by name, and the device that all of them are on.

    sizes = Sizes()
    sizes.take("num_seqs q_len num_heads head_dim", query=query)
    sizes.take("num_seqs kv_len num_kv_heads head_dim", key=key, value=value)  # the same num_seqs and head_dim
    """

    device: torch.device | None = None

    def take(
        self, layout: str, dtypes: Sequence[torch.dtype] = (), *, contiguous: bool = False, **tensors: Tensor
    ) -> None:
        """Require this layout of tensors, where a number stands for itself and known sizes must be met; and one of
        `dtypes`, if given."""
        names = layout.split()
        expected = ", ".join(f"{name}={self[name]}" if name in self else name for name in names)
        got = " and ".join(str(list(tensor.shape)) for tensor in tensors.values())
        for name, tensor in tensors.items():
            fits = tensor.ndim == len(names) and all(
                (int(each) if each.isdigit() else self.setdefault(each, size)) == size
                for each, size in zip(names, tensor.shape, strict=True)
            )
            require(fits, f"{' and '.join(tensors)} must be [{expected}], got {got}")
            kinds = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
            require(not dtypes or tensor.dtype in dtypes, f"{name} must be {kinds}, got {tensor.dtype}")
            require(not contiguous or tensor.is_contiguous(), f"{name} must be contiguous")
            self.device = self.device or tensor.device
            require(tensor.device == self.device, f"{name} is on {tensor.device}, expected {self.device}")

    def take_caches(self, key_cache: Tensor, value_cache: Tensor, *, layers: bool = False) -> None:
        """Require one layer of the pool; where `layers` are allowed, also all of them."""
        alike = key_cache.shape == value_cache.shape and key_cache.dtype == value_cache.dtype
        require(alike, f"caches must be alike, got {describe(key_cache)} and {describe(value_cache)}")
        layout = "num_blocks block_size num_kv_heads head_dim"
        if layers and key_cache.ndim == 5:
            layout = f"num_layers {layout}"
        self.take(layout, contiguous=True, key_cache=key_cache, value_cache=value_cache)

    def check_heads(self) -> None:
        num_heads, num_kv_heads = self["num_heads"], self["num_kv_heads"]
        divides = num_kv_heads > 0 and num_heads % num_kv_heads == 0
        require(divides, f"num_kv_heads={num_kv_heads} must divide num_heads={num_heads}")

    def take_pages(
        self, block_tables: Tensor, context_lens: Sequence[int] | Tensor, query_lens: Sequence[int] | Tensor | None
    ) -> tuple[list[int], list[int]]:
        """Require that every sequence's pages exist in the pool and hold its queries; the lengths as lists."""
        self.take("num_seqs max_blocks", INTEGERS, block_tables=block_tables)
        num_seqs, max_blocks, block_size = self["num_seqs"], self["max_blocks"], self["block_size"]
        context_lens = lengths("context_lens", context_lens, num_seqs)
        query_lens = [1] * num_seqs if query_lens is None else lengths("query_lens", query_lens, num_seqs)
        for s, (context_len, query_len) in enumerate(zip(context_lens, query_lens, strict=True)):
            require(
                0 <= query_len <= context_len <= max_blocks * block_size,
                f"sequence {s}: context_len={context_len} must hold query_len={query_len} tokens and fit into "
                f"{max_blocks} blocks of {block_size}",
            )
        used = torch.arange(max_blocks) < torch.tensor([-(-n // block_size) for n in context_lens])[:, None]
        tables = block_tables.cpu()
        if (wrong := used & ((tables < 0) | (tables >= self["num_blocks"]))).any():
            s, entry = wrong.nonzero()[0].tolist()
            raise ValueError(
                f"sequence {s}: entry {entry} of its block table is {int(tables[s, entry])}, outside the pool of "
                f"{self['num_blocks']} blocks"
            )
        return context_lens, query_lens


def lengths(name: str, given: Sequence[int] | Tensor, num_seqs: int, longest: int | None = None) -> list[int]:
    """Lengths as a list, of which there must be `num_seqs`, from 0 to `longest`."""
    given = given.tolist() if isinstance(given, Tensor) else list(given)
    are_integers = len(given) == num_seqs and all(isinstance(n, int) for n in given)
    require(are_integers, f"{name} must be {num_seqs} integers, got {given}")
    inside = longest is None or all(0 <= n <= longest for n in given)
    require(inside, f"{name} must lie in 0..{longest}, got {given}")
    return given


def indices(name: str, given: Tensor, end: int, padding: int = 0) -> None:
    """Require numbers from 0 to `end - 1`, or `padding`, which may be -1."""
    if given.numel():
        low, high = (int(index) for index in given.aminmax())
        but = f" (or be {padding})" if padding else ""
        require(padding <= low and high < end, f"{name} must lie in 0..{end - 1}{but}, got {low}..{high}")
