"""How a request wants its tokens chosen, and when it ends."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from yaie.kernels import sampling
from yaie.kernels.checks import LARGEST_FLOAT, is_integer, require


def _is_text(value: Any) -> bool:
    """No decoder gives half a surrogate pair, so no text ends at one."""
    return isinstance(value, str) and value != "" and re.search("[\ud800-\udfff]", value) is None


LONGEST_STOP = 10_000  # characters, of all stop strings together: each new token is searched for them


def _are_stops(stop: Sequence[Any]) -> bool:
    return all(map(_is_text, stop)) and sum(map(len, stop)) <= LONGEST_STOP


# Besides those of `sampling.RULES`: the words for what a parameter must be, and whether a value is that.
RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "seed": ("None or an integer from 0 to 2**63 - 1", lambda s: s is None or (is_integer(s) and 0 <= s < 2**63)),
    "max_tokens": ("an integer >= 1", lambda n: is_integer(n) and n >= 1),
    "stop": (f"strings that are not empty, and that UTF-8 has, of up to {LONGEST_STOP} characters in all", _are_stops),
    "stop_token_ids": ("integers >= 0", lambda ids: all(is_integer(token_id) and token_id >= 0 for token_id in ids)),
    "ignore_eos": ("True or False", lambda yes: isinstance(yes, bool)),
    "logprobs": ("None or an integer >= 0", lambda n: n is None or (is_integer(n) and n >= 0)),
}


@dataclass(frozen=True)
class SamplingParams:
    """What a request asks for. Every value is checked here, so nothing of it can fail later, inside a batch.

    Two requests with the same prompt, parameters and seed get the same text, whoever shares their batch. Raises
    ValueError naming the parameter.
    """

    temperature: float = 1.0  # 0 takes the most likely token (greedy); higher is more varied
    top_k: int = -1  # keep so many of the most likely tokens; -1 keeps all
    top_p: float = 1.0  # keep the fewest tokens that together have at least this probability
    min_p: float = 0.0  # drop tokens less likely than this fraction of the most likely one
    repetition_penalty: float = 1.0  # above 1 makes every token of prompt and answer less likely to come again
    presence_penalty: float = 0.0  # above 0 makes every token of the answer less likely to come again
    seed: int | None = None  # None: one that follows from the engine's own and the number of the request
    max_tokens: int = 256
    stop: str | Sequence[str] | None = ()  # strings (or one) that end the answer; the text ends before them
    stop_token_ids: Sequence[int] | None = ()  # tokens that end the answer, besides the model's own
    ignore_eos: bool = False  # do not end at the model's own end token (for benchmarks)
    logprobs: int | None = None  # how many of the likeliest tokens to report besides the chosen one; None: nothing

    def __post_init__(self) -> None:
        for name, kind in self.__annotations__.items():
            given = getattr(self, name)
            value = _as_tuple(given) if name in ("stop", "stop_token_ids") else _as_number(given)
            if name in sampling.RULES:
                sampling.check_parameter(name, value, "SamplingParams")
            else:
                expected, is_right = RULES[name]
                require(is_right(value), f"SamplingParams: {name} must be {expected}", given)
            object.__setattr__(self, name, float(value) if kind == "float" else value)  # frozen for all others

    @property
    def has_penalty(self) -> bool:
        """Whether the next token depends on which came before it, besides what the model makes of them."""
        return self.repetition_penalty != 1 or self.presence_penalty != 0


def _as_number(value: Any) -> Any:
    """A number of any kind (numpy's, a fraction) as one of Python's own; whatever else it is as it is."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    if isinstance(value, Integral):
        return int(value)
    return float(value) if abs(value) <= LARGEST_FLOAT else value


def _as_tuple(value: Any) -> tuple:
    """None, one str, or several of something; (None,), which follows no rule, for whatever else it is."""
    if value is None or isinstance(value, str):
        return () if value is None else (value,)
    several = isinstance(value, Iterable) and not isinstance(value, bytes | Mapping)
    return tuple(map(_as_number, value)) if several else (None,)
