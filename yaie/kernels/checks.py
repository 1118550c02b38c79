"""What arguments are checked with: each where it comes in from outside, and nowhere else.

A check raises a ValueError that names the argument, what was expected and what came, before anything is changed. Some
look at numbers (block ids, slots, lengths), for which the CPU has to wait for a GPU: the engine makes these numbers
itself and calls its `Operations`, which do not check.

Integers may be numpy's, and never a bool or a float; numbers are finite, also in float32.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

INTEGERS = (torch.int32, torch.int64)
FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
LARGEST = 2**63 - 1  # of int64
LARGEST_FLOAT = torch.finfo(torch.float32).max


def require(is_right: bool, what: str, *came: Any) -> None:
    """Raise ValueError unless `is_right`: `what` must be so, and what came instead, if that is given."""
    if not is_right:
        raise ValueError(what + "".join(f", got {describe(value)}" for value in came))


def describe(value: Any) -> str:
    """What came, for an error: short, whatever it is."""
    if isinstance(value, Tensor):
        return f"{value.dtype} {list(value.shape)} on {value.device}"
    try:
        text = repr(value)
    except Exception:  # an int of more digits than Python prints, a class whose __repr__ fails
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 80 else f"{text[:60]}... ({type(value).__name__})"


def one_of(name: str, value: Any, choices: Iterable[str]) -> None:
    require(value in list(choices), f"{name} must be one of {', '.join(choices)}", value)


def is_integer(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether this is a number that a float32 can hold: no NaN, no infinity."""
    right = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return right and bool(-LARGEST_FLOAT <= value <= LARGEST_FLOAT)


def integer(name: str, value: Any, least: int = 0, most: int = LARGEST) -> int:
    """`value`, an integer from `least` to `most`, as an int."""
    if type(value) is int and least <= value <= most:  # quickly: some are asked for in every step
        return value
    right = is_integer(value) and least <= value <= most
    end = "2**63 - 1" if most == LARGEST else most
    expected = f"a positive integer up to {end}" if least == 1 else f"an integer of at least {least} and at most {end}"
    require(right, f"{name} must be {expected}", value)
    return int(value)


def number(name: str, value: Any, least: float = -LARGEST_FLOAT) -> float:
    """`value`, a finite number of at least `least`, as a float."""
    expected = "a finite number" if least == -LARGEST_FLOAT else f"a finite number >= {least}"
    require(is_number(value) and value >= least, f"{name} must be {expected}", value)
    return float(value)


def device(value: Any) -> None:
    """Require None or a device that tensors can be made on."""
    try:
        torch.empty(0, device=value)
    except Exception as error:  # each kind of device, absent or misspelt, has its own
        raise ValueError(f"device must be one of this machine, got {describe(value)}: {error}") from error


def flag(name: str, value: Any) -> bool:
    require(isinstance(value, bool | np.bool_), f"{name} must be True or False", value)
    return bool(value)


def request_id(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, got {describe(value)}")
    require(value != "", f"{name} must not be empty")


def integers(name: str, given: Any, count: int | None = None, least: int = 0, most: int = LARGEST) -> list[int]:
    """`count` integers (None: any number) from `least` to `most`, in a sequence, array or tensor: as a list of ints."""
    if isinstance(given, Tensor):
        tensor(name, given)
    is_list = isinstance(given, Iterable) and not isinstance(given, str | bytes) and getattr(given, "ndim", 1) == 1
    values = (given.tolist() if isinstance(given, Tensor | np.ndarray) else list(given)) if is_list else []
    right = is_list and count in (None, len(values))
    if not right or set(map(type, values)) - {int}:  # the quick look first: block tables are long
        right = right and all(map(is_integer, values))
        expected = "integers" if count is None else f"{count} integers"
        require(right, f"{name} must be {expected}", values if is_list else given)
        values = [int(value) for value in values]
    if values and not (least <= min(values) and max(values) <= most):
        outside = next(value for value in values if not least <= value <= most)
        raise ValueError(f"{name} must lie in {least}..{most}, got {describe(outside)}")
    return values


def indices(name: str, given: Tensor, end: int, padding: int = 0) -> None:
    """Require numbers from 0 to `end - 1`, or `padding`, which may be -1."""
    if given.numel():
        low, high = (int(index) for index in given.aminmax())
        but = f" (or be {padding})" if padding else ""
        came = f"{low}..{high}" if low < high else low
        require(padding <= low and high < end, f"{name} must lie in 0..{end - 1}{but}, got {came}")


def tensor(name: str, value: Any, dtypes: Sequence[torch.dtype] = (), device: torch.device | None = None) -> None:
    """Require a dense tensor that holds numbers, of one of `dtypes` and on `device`, if given."""
    require(isinstance(value, Tensor), f"{name} must be a tensor", value)
    dense = value.layout == torch.strided and not value.is_quantized
    require(dense, f"{name} must be dense, got {value.layout}")
    there = not value.is_meta and device in (None, value.device)
    require(there, f"{name} is on {value.device}, expected {device or 'a device that holds numbers'}")
    kinds = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
    require(not dtypes or value.dtype in dtypes, f"{name} must be {kinds}, got {value.dtype}")


def writable(written: Mapping[str, Tensor], read: Mapping[str, Tensor]) -> None:
    """Require that `written` may be changed in place, and share no memory with each other nor with what is read."""
    for name, target in written.items():
        frozen = target.is_inference() and not torch.is_inference_mode_enabled()
        leaf = (target._base if target._is_view() else target).is_leaf
        frozen |= leaf and target.requires_grad and torch.is_grad_enabled()
        require(not frozen, f"{name} is changed in place, and autograd forbids that for the one given")
        for other, source in {**written, **read}.items():
            apart = other == name or not _overlap(target, source)
            require(apart, f"{name} is changed in place, and must share no memory with {other}")


def aligned_cache(name: str, cache: Tensor) -> None:
    """Require that blocks can be read in the largest pieces that divide them: a pool and its layers can."""
    piece = math.gcd(16, math.prod(cache.shape[-3:]) * cache.element_size())
    begins = cache.data_ptr() % piece == 0
    require(begins, f"{name} must be contiguous from an address that is a multiple of {piece} bytes")


def _overlap(a: Tensor, b: Tensor) -> bool:
    def span(x: Tensor) -> tuple[int, int]:
        last = sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))
        return x.data_ptr(), x.data_ptr() + (last + 1) * x.element_size()

    (start_a, end_a), (start_b, end_b) = span(a), span(b)
    return a.device == b.device and a.numel() > 0 < b.numel() and start_a < end_b and start_b < end_a


class Sizes(dict[str, int]):
    """The sizes that the tensors of a call agree on, by name, and the device that all of them are on."""

    device: torch.device | None = None

    def take(
        self, layout: str, dtypes: Sequence[torch.dtype] = (), *, contiguous: bool = False, **tensors: Tensor
    ) -> None:
        """Require this layout ("num_seqs num_heads 2") of tensors, and one of `dtypes`, if given. Known sizes must be
        met, a number stands for itself, and "..." in front for any number of sizes."""
        names = layout.split()
        fixed = names[1:] if names[0] == "..." else names
        expected = ", ".join(f"{name}={self[name]}" if name in self else name for name in names)
        for name, x in tensors.items():
            tensor(name, x, (), self.device)
            self.device = x.device
        got = " and ".join(str(list(x.shape)) for x in tensors.values())
        for name, x in tensors.items():
            fits = x.ndim == len(names) or (fixed is not names and x.ndim >= len(fixed))
            fits = fits and all(
                (int(each) if each.isdigit() else self.setdefault(each, size)) == size
                for each, size in zip(fixed, x.shape[x.ndim - len(fixed) :], strict=True)
            )
            require(fits, f"{' and '.join(tensors)} must be [{expected}], got {got}")
            tensor(name, x, dtypes)
            require(not contiguous or x.is_contiguous(), f"{name} must be contiguous")

    def take_caches(
        self, key_cache: Tensor, value_cache: Tensor, dtypes: Sequence[torch.dtype] = (), *, layers: bool = False
    ) -> None:
        """Require one layer of the pool; where `layers` are allowed, also all of them."""
        for name, cache in (("key_cache", key_cache), ("value_cache", value_cache)):
            tensor(name, cache, dtypes)
        alike = key_cache.shape == value_cache.shape and key_cache.dtype == value_cache.dtype
        require(alike, f"caches must be alike, got {describe(key_cache)} and {describe(value_cache)}")
        layout = "num_blocks block_size num_kv_heads head_dim"
        if layers and key_cache.ndim == 5:
            layout = f"num_layers {layout}"
        self.take(layout, contiguous=True, key_cache=key_cache, value_cache=value_cache)
        aligned_cache("key_cache", key_cache)
        aligned_cache("value_cache", value_cache)

    def check_heads(self) -> None:
        num_heads, num_kv_heads = self["num_heads"], self["num_kv_heads"]
        divides = num_kv_heads > 0 and num_heads % num_kv_heads == 0
        require(divides, f"num_kv_heads={num_kv_heads} must divide num_heads={num_heads}")

    def take_pages(self, block_tables: Tensor, context_lens: Any, query_lens: Any) -> tuple[list[int], list[int]]:
        """Require that every sequence's pages exist in the pool and hold its queries; the lengths as lists."""
        self.take("num_seqs max_blocks", INTEGERS, block_tables=block_tables)
        num_seqs, max_blocks, block_size = self["num_seqs"], self["max_blocks"], self["block_size"]
        require(block_size > 0, "the caches must have a block_size above 0")
        context_lens = integers("context_lens", context_lens, num_seqs, -LARGEST)
        query_lens = [1] * num_seqs if query_lens is None else integers("query_lens", query_lens, num_seqs, -LARGEST)
        for s, (context_len, query_len) in enumerate(zip(context_lens, query_lens, strict=True)):
            require(
                0 <= query_len <= context_len <= max_blocks * block_size,
                f"sequence {s}: context_len={context_len} must hold query_len={query_len} tokens and fit into "
                f"{max_blocks} blocks of {block_size}",
            )
        tables = block_tables.cpu()
        pages = torch.tensor([-(-n // block_size) for n in context_lens], device="cpu")  # whatever torch's default is
        used = torch.arange(max_blocks, device="cpu") < pages[:, None]
        if (wrong := used & ((tables < 0) | (tables >= self["num_blocks"]))).any():
            s, entry = wrong.nonzero()[0].tolist()
            raise ValueError(
                f"sequence {s}: entry {entry} of its block table is {int(tables[s, entry])}, outside the pool of "
                f"{self['num_blocks']} blocks"
            )
        return context_lens, query_lens
