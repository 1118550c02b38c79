"""What a wrong result has to do with the right one: where it is wrong, and what stands there instead.

All of it is computed from results and inputs, so it is true whatever the answer does. It speaks of numbers in nested
lists, arrays and tensors, whatever the language of the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations, permutations
from typing import Any

import numpy as np
import torch

ALL = "All numbers are wrong."
FEW = 4  # numbers that one sees at a glance
SEVERAL = 6  # inputs, for a rule of two numbers: of fewer much is true by chance
LISTED = 4  # indices that are listed one by one
TRIED = 8  # wrong numbers whose origin is looked for
SMALLEST = float(np.finfo(np.float32).tiny)  # numbers below are seldom results
MOST = 1_000_000  # numbers that are looked through
PERIODS = (2, 4, 8, 16, 32, 64, 128, 256)
NAMES = {1: ("index",), 2: ("row", "column")}
ORDINALS = ("first", "second", "third", "fourth", "fifth")
FACTORS = {
    np.log(2): "ln 2: is a base 2 or e?",
    1 / np.log(2): "1 / ln 2: is a base 2 or e?",
    np.sqrt(2): "the root of 2",
    1 / np.sqrt(2): "1 / the root of 2",
}


@dataclass
class Call:
    """The last call of a launcher or of a function in Python: its name, the numbers that it was given, and the tensors
    as they were before."""

    name: str = ""
    numbers: dict[str, float] = field(default_factory=dict)
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    live: dict[str, torch.Tensor] = field(default_factory=dict)  # as they are now
    launched: bool = True  # a launcher has no result but what it writes: one with the same numbers is a copy of that

    @classmethod
    def of(cls, name: str, arguments: Mapping[str, Any], launched: bool = True) -> Call:
        tensors = {key: each for key, each in arguments.items() if isinstance(each, torch.Tensor) and each.numel()}
        numbers = {key: each for key, each in arguments.items() if type(each) in (int, float)}
        if not launched:  # a launcher takes tensors of one shape
            numbers |= {f"{key}.dim()": each.dim() for key, each in tensors.items()}
        return cls(name, numbers, {key: each.clone() for key, each in tensors.items()}, tensors, launched)

    def written(self, got: Any) -> tuple[str, np.ndarray | None]:
        """The tensor of the call that `got` is, or is a view or a copy of, and what this place held before."""
        if isinstance(got, torch.Tensor):
            for name, now in self.live.items():
                offset = got.storage_offset() - now.storage_offset()
                same = got.untyped_storage().data_ptr() == now.untyped_storage().data_ptr()
                if same and got.dtype == now.dtype and offset >= 0:
                    return name, _array(self.tensors[name].as_strided(got.shape, got.stride(), offset))
        values = _array(got) if self.launched else None
        for name, now in self.live.items() if values is not None and values.size > 1 else ():
            if now.numel() == values.size and np.array_equal(_array(now).ravel(), values.ravel(), equal_nan=True):
                return name, _array(self.tensors[name]).reshape(values.shape)
        return "", None


def pattern(got: Any, expected: Any, tolerance: float = 0.0, axes: str = "", call: Call | None = None) -> str:
    """Where a result is wrong and what stands there instead, in a sentence or two; nothing where there is no pattern.

    axes: what the indices count, such as "layer block number"
    call: what was called with which inputs, where that is known
    """
    ours, theirs = _array(got), _array(expected)
    if ours is None or theirs is None or ours.shape != theirs.shape or not 1 < ours.size <= MOST:
        return ""
    with np.errstate(all="ignore"):
        wrong = ~((np.abs(ours - theirs) <= tolerance) | (ours == theirs) | (np.isnan(ours) & np.isnan(theirs)))
        if not wrong.any():
            return ""
        name, old = (call or Call()).written(got)
        is_float = got.is_floating_point() if isinstance(got, torch.Tensor) else np.asarray(got).dtype.kind == "f"
        taken = _where_from(ours, theirs, wrong, old, name, call or Call(), is_float)
        what = _by_what_was_there(ours[wrong], theirs[wrong], None if old is None else old[wrong])
        what = what or taken or _what(ours, theirs, wrong, tolerance, old, call or Call())
        return " ".join(filter(None, (_where(wrong, axes), what)))


def says_little(said: str) -> bool:
    """Whether a pattern has no rule by which numbers are wrong: all are, or some, or a single one."""
    single = said.startswith(("Only the ", "The other ", "The wrong number is "))
    return said in ("", ALL) or single or re.fullmatch(r"[\d,]+ of [\d,]+ numbers are wrong\.", said) is not None


def part_of_product(got: Any, left: Any, right: Any, tolerance: float = 0.0) -> str:
    """Which columns of two matrices a wrong product of the rows of both was made with; nothing if with no such part."""
    ours, one, other = _array(got), _array(left), _array(right)
    count = one.shape[-1]
    parts = {"the first half": range(count // 2), "the second half": range(count // 2, count)}
    for width in (4, 8, 16, 32):
        if width < count:
            parts |= {f"the first {width}": range(width), f"the last {width}": range(count - width, count)}
            parts |= {
                f"all but the last {width}": range(count - width),
                f"all but the first {width}": range(width, count),
            }
            even = [each for each in range(count) if each // width % 2 == 0]
            odd = [each for each in range(count) if each // width % 2]
            parts |= {f"the first {width} of each {2 * width}": even, f"the second {width} of each {2 * width}": odd}
    fitting = {}
    for name, columns in parts.items():
        product = one[..., list(columns)] @ other[..., list(columns)].swapaxes(-1, -2)
        if np.allclose(ours, product, rtol=0, atol=max(tolerance, 1e-6)):
            fitting.setdefault(tuple(columns), name)
    if len(fitting) == 1:  # else many columns are 0, and nothing can be told
        return f"Only {min(fitting.values())} of the {count} columns were multiplied."
    if np.allclose(ours, one.sum(-1)[..., :, None] + other.sum(-1)[..., None, :], atol=max(tolerance, 1e-6)):
        return "The numbers were added, not multiplied."
    return ""


def _array(values: Any) -> np.ndarray | None:
    """Numbers as an array; None for anything else, and for whole numbers that a float cannot hold."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().double().numpy()
    try:
        found = np.asarray(values)
    except (ValueError, OverflowError):
        return None
    return found.astype(np.float64) if found.dtype.kind in "iuf" else None


# --- where


def _where(wrong: np.ndarray, axes: str) -> str:
    """Which of the numbers are wrong, by their indices."""
    if wrong.size <= FEW:
        return ""
    if wrong.all():
        return ALL
    if wrong.sum() == 1:
        ends = [name for name, hit in (("first", wrong.flat[0]), ("last", wrong.flat[-1])) if hit]
        only = f"Only the {ends[0]} of {wrong.size:,} numbers is wrong." if ends else ""
        return only or f"The other {wrong.size - 1:,} numbers are right."
    places, inside = [], np.ones_like(wrong)
    for axis, name in enumerate(_names(wrong.ndim, axes)):
        hit = wrong.any(axis=tuple(other for other in range(wrong.ndim) if other != axis))
        if not hit.all() and (which := _which(hit)):
            places.append(f"the {name} is {which}")
            inside &= hit.reshape([-1 if other == axis else 1 for other in range(wrong.ndim)])
    if places:
        some = "" if (inside == wrong).all() else f"{int(wrong.sum()):,} numbers are wrong, all of them "
        return f"{some or 'Wrong exactly '}where {' and '.join(places)}."
    flat = _which(wrong.ravel())
    if flat and wrong.ndim > 1 and 2 * wrong.sum() <= wrong.size:
        return f"Counted through from 0, the wrong numbers are those whose place is {flat}."
    return f"{int(wrong.sum()):,} of {wrong.size:,} numbers are wrong."


def _names(count: int, axes: str) -> Iterable[str]:
    names = axes.split() or NAMES.get(count) or [f"{each} index" for each in ORDINALS]
    return [*names, *(f"{each} index" for each in ORDINALS[len(names) :])][:count]


def _which(hit: np.ndarray) -> str:
    """Some of the indices 0, 1, ..., in words; nothing where there is no rule."""
    indices, count = hit.nonzero()[0].tolist(), len(hit)
    first, last = indices[0], indices[-1]
    if len(indices) == 1:
        return f"{first}, the last" if first == count - 1 else str(first)
    if len(indices) == last - first + 1:
        if last == count - 1:
            return f"{first} or more"
        within = f"{first} or {last}" if last == first + 1 else f"from {first} to {last}"
        return f"{last} or less" if first == 0 else within
    numbers = np.arange(count)
    for period in (each for each in PERIODS if each < count):
        for rest in range(period if period <= 8 else 1):
            if (hit == (numbers % period == rest)).all():
                return ("even", "odd")[rest] if period == 2 else f"{rest}, {rest + period}, {rest + 2 * period}, ..."
        if (hit == (numbers % period != 0)).all():
            return f"no multiple of {period}"
        for upper in (False, True):
            if period > 2 and (hit == ((numbers % period >= period // 2) == upper)).all():
                return f"in the {('lower', 'upper')[upper]} half of each {period}"
    if len(indices) <= LISTED:
        return f"{', '.join(map(str, indices[:-1]))} or {last}"
    missing = (~hit).nonzero()[0].tolist()
    return f"not {missing[0]}" if len(missing) == 1 else ""


# --- what


def _by_what_was_there(got: np.ndarray, right: np.ndarray, old: np.ndarray | None) -> str:
    """What the wrong numbers are, where all of them are what was there before the call, or should be."""
    if old is None:
        return ""
    if np.isnan(got).all() and np.isnan(old).all():
        return f"{_subject(got)} NaN, as all were before the call: never written, or added to what was there."
    if np.array_equal(got, old, equal_nan=True):
        return f"{_subject(got)} still what was there before the call, as if never written."
    if np.array_equal(right, old, equal_nan=True):
        return "What was there before the call was to stay, and something was written over it."
    return ""


def _what(
    ours: np.ndarray, theirs: np.ndarray, wrong: np.ndarray, tolerance: float, old: np.ndarray | None, call: Call
) -> str:
    """What the wrong numbers are, by what they should be."""
    got, right = ours[wrong], theirs[wrong]
    if np.isnan(got).all():
        return f"{_subject(got)} NaN, as comes of inf - inf, 0 / 0 or numbers that were never set."
    if not got.any():
        return f"{_subject(got)} 0."
    tiny = np.abs(got[(got != 0) & (np.abs(got) < SMALLEST)])
    if tiny.size and not (np.abs(right[right != 0]) < SMALLEST).any():
        return f"Numbers such as {tiny[0]:.2g} come of memory that was never set, or of whole numbers read as floats."
    if np.isinf(got).all():
        given = [name for name, each in call.tensors.items() if each.is_floating_point() and each.isinf().any()]
        usual = "a number was too large, or something was divided by 0"
        return f"{_subject(got)} infinite{f', as some of `{given[0]}` are' if given else f': {usual}'}."
    there = None if old is None else old[wrong]
    added = there is not None and len(got) > 2 and np.isfinite(there).all() and there.any()
    if added and _near(got, right + there, tolerance):
        return "What was there before the call has been added."
    if not (np.isfinite(got).all() and np.isfinite(right).all()):
        return ""
    found = _by_formula(got, right, tolerance) or _by_input(got, right, wrong, tolerance, call)
    if found or (found := _by_rows(ours, theirs, tolerance)):
        return found
    same = there is not None and got == there
    return f"{_some(same)} still what was there before the call." if np.mean(same) >= 0.5 else ""


def _by_formula(got: np.ndarray, right: np.ndarray, tolerance: float) -> str:
    if len(got) < 3 or np.ptp(right) <= tolerance:  # of two numbers much is true by chance
        return ""
    factor = _factor(got, right, tolerance)
    error = np.abs(got / right - 1).max() if right.all() else np.inf
    if error < 1e-3 and (factor is None or abs(factor - 1) < 1e-6):
        return f"The wrong numbers are right to {int(-np.log10(error))} digits."
    if factor is not None:
        known = next((f" ({name})" for value, name in FACTORS.items() if np.isclose(factor, value, rtol=1e-3)), "")
        return (
            f"The wrong numbers are {factor:.4g} times what they should be{known}."
            if factor != -1
            else "The sign is wrong."
        )
    if _near(got, right + (got - right).mean(), tolerance):
        off = (got - right).mean()
        return f"The wrong numbers are {abs(off):.4g} too {'large' if off > 0 else 'small'}."
    if right.all():
        for formula, name in ((right**2, "squares"), (1 / right, "inverses"), (np.sqrt(np.abs(right)), "roots")):
            if _near(got, formula, tolerance) and np.ptp(formula) > 10 * tolerance:
                return f"The wrong numbers are the {name} of what they should be."
    return ""


def _by_input(got: np.ndarray, right: np.ndarray, wrong: np.ndarray, tolerance: float, call: Call) -> str:
    """An input of the same size, or of the size of a row, that was added, taken away, multiplied or divided by."""
    if len(got) < 3 or np.ptp(right) <= tolerance:
        return ""
    for name, tensor in call.tensors.items():
        if tensor.numel() not in (wrong.size, wrong.shape[-1]) or not tensor.is_floating_point():
            continue
        shape = wrong.shape if tensor.numel() == wrong.size else wrong.shape[-1:]
        value = np.broadcast_to(_array(tensor).reshape(shape), wrong.shape)[wrong]
        if not np.isfinite(value).all() or np.ptp(value) <= tolerance:
            continue
        for result, said in (
            (right + value, f"too large by `{name}`"),
            (right - value, f"too small by `{name}`"),
            (right * value, f"what they should be, times `{name}`"),
            (right / value, f"what they should be, divided by `{name}`"),
        ):
            if _near(got, result, tolerance):
                return f"The wrong numbers are {said}."
    return ""


def _by_rows(ours: np.ndarray, theirs: np.ndarray, tolerance: float) -> str:
    """Rows of one number; rows that are right but for a factor: not divided, or divided by something else."""
    if ours.ndim < 2 or ours.shape[-1] < 3:
        return ""
    if not np.ptp(ours, axis=-1).any() and np.ptp(theirs, axis=-1).any():
        return "Each row holds one number throughout."
    rows = list(zip(ours.reshape(-1, ours.shape[-1]), theirs.reshape(-1, ours.shape[-1]), strict=True))
    factors = {_factor(one, other, tolerance) for one, other in rows if np.ptp(other) > tolerance}
    if len(factors) > 1 and None not in factors:
        return "Each row is right but for a factor of its own."
    return ""


def _factor(got: np.ndarray, right: np.ndarray, tolerance: float) -> float | None:
    """By what the right numbers were multiplied, all alike."""
    size = np.abs(right).max()
    if not size > 0:
        return None
    factor = float(got[np.abs(right).argmax()] / right[np.abs(right).argmax()])
    return factor if factor and _near(got, factor * right, max(tolerance, 1e-4 * size * abs(factor))) else None


def _near(one: np.ndarray, other: np.ndarray, tolerance: float) -> bool:
    return bool(np.allclose(one, other, rtol=1e-5, atol=tolerance))


def _subject(wrong: np.ndarray) -> str:
    return "The wrong number is" if len(wrong) == 1 else "The wrong numbers are"


def _some(mask: np.ndarray) -> str:
    count = int(mask.sum())
    return f"{count:,} of the {len(mask):,} wrong ones {'is' if count == 1 else 'are'}"


# --- where from


def _where_from(
    ours: np.ndarray,
    theirs: np.ndarray,
    wrong: np.ndarray,
    old: np.ndarray | None,
    name: str,
    call: Call,
    is_float: bool,
) -> str:
    """Which number of an input stands at one of the first wrong places, and which belongs there; or the place
    of the result that it belongs to. Only where no other number is the same."""
    sources = {key: each for key, each in call.tensors.items() if each.is_floating_point() == is_float}
    if name and not is_float:  # else an index may look like a number that was copied
        sources = {key: each for key, each in sources.items() if each.dtype == call.tensors[name].dtype}
    inputs = {key: _array(each) for key, each in sources.items()}
    places = [tuple(place) for place in np.argwhere(wrong & (ours != 0))[:TRIED].tolist()]  # a 0 may come from anywhere
    # A few may be there by chance. Not np.isin, for which each worker would import numpy.ma.
    moved = all((theirs == ours[place]).any() for place in places)
    said = []
    for place in places:
        here = f"{name or 'The result'}{_index(place)}"
        taken, wanted = (_only(inputs, each[place]) for each in (ours, theirs))
        if taken and wanted:
            before = " as it was before the call" if name and taken.startswith(f"{name}[") else ""
            said.append(f"{here} holds `{taken}`{before}; `{wanted}` belongs there.")
        elif taken and old is not None and old[place] == theirs[place]:
            said.append(f"{here} holds `{taken}`; it was right before the call.")
        elif moved and ours.size > FEW and (own := _only({name: theirs}, ours[place])):
            said.append(f"{here} holds what belongs to {own}.")
    return said[0] if said and 2 * len(said) >= len(places) else ""  # a single one may be chance


def _only(arrays: Mapping[str, np.ndarray | None], number: float) -> str:
    """The one place of a number in all of the arrays; nothing where it has none or several."""
    found = []
    for name, array in arrays.items():
        if array is not None and array.size <= MOST:
            found += [f"{name}{_index(place)}" for place in np.argwhere(array == number)[:2].tolist()]
    return found[0] if len(found) == 1 else ""


def _index(place: Iterable[int]) -> str:
    return "".join(f"[{each}]" for each in place)


# --- which inputs


def contrast(right: list[Mapping[str, float]], wrong: list[Mapping[str, float]]) -> str:
    """What tells the inputs that go wrong from the others, by the numbers that a function was called with: a sentence,
    or nothing where there is no rule or more than one."""
    if len(right) < 2 or not wrong:  # what one input alone has, it has by chance
        return ""
    names = sorted(name for name in wrong[0] if all(name in each for each in (*right, *wrong)))
    rules = {(name,): rule for name in names if (rule := _rule(name, right, wrong))}
    for pair in combinations(names, 2):
        alike = [{each[pair[0]] == each[pair[1]] for each in some} for some in (right, wrong)]
        if alike == [{True}, {False}]:
            rules = {names: rule for names, rule in rules.items() if not set(names) <= set(pair)}  # it says more
            rules[pair] = f"where `{pair[0]}` and `{pair[1]}` differ"
    if not rules and min(len(right), len(wrong)) > 1:
        rules = {pair: rule for pair in permutations(names, 2) if (rule := _rule_of_two(*pair, right, wrong))}
    return min(rules.values()) if len(rules) == 1 else ""


def _rule_of_two(one: str, other: str, right: list[Mapping[str, float]], wrong: list[Mapping[str, float]]) -> str:
    """As `_rule`, for what two numbers have to do with each other."""
    if len(right) + len(wrong) < SEVERAL or any(each[other] <= 0 for each in (*right, *wrong)):
        return ""
    for test, yes, no in (
        (lambda a, b: a % b == 0, "is a multiple of", "is no multiple of"),
        (lambda a, b: a > b, "is more than", "is not more than"),
    ):
        good, bad = ({test(each[one], each[other]) for each in some} for some in (right, wrong))
        if good ^ bad == {True, False}:
            return f"where `{one}` {yes if bad == {True} else no} `{other}`"
    return ""


def _rule(name: str, right: list[Mapping[str, float]], wrong: list[Mapping[str, float]]) -> str:
    good, bad = {each[name] for each in right}, {each[name] for each in wrong}
    if good & bad:
        return ""
    if len(right) + len(wrong) < 4:
        return ""
    if min(bad) > max(good):
        return f"where `{name}` is {min(bad):g} or more" + (f", not where it is {max(good):g}" if len(bad) > 1 else "")
    if len(bad) == 1:
        return f"where `{name}` is {bad.pop():g}"
    for period in reversed(PERIODS) if all(type(each) is int for each in good | bad) else ():
        for hits, misses, what in ((good, bad, "is no multiple"), (bad, good, "is a multiple")):
            if len(hits) > 1 and not any(each % period for each in hits) and all(each % period for each in misses):
                return f"where `{name}` {what} of {period}"
    return f"where `{name}` is {max(bad):g} or less" if max(bad) < min(good) else ""
