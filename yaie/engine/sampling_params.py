"""How a request wants its tokens chosen, and when it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from yaie.engine.checks import as_int, is_int, is_text, require

# The words for what each parameter must be, and whether a value is that. A kernel computes in float32 and int64, so
# what would overflow or vanish there is refused.
RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "temperature": ("0 (greedy) or from 1e-30 to 1e30", lambda t: t == 0 or 1e-30 <= t <= 1e30),
    "top_k": ("-1 (all) or an int from 1 to 2**31 - 1", lambda k: is_int(k, -1, 2**31 - 1) and k != 0),
    "top_p": ("above 0 and at most 1", lambda p: 0 < p <= 1),
    "min_p": ("from 0 to 1", lambda p: 0 <= p <= 1),
    "repetition_penalty": ("above 0: from 1e-30 to 1e30", lambda r: 1e-30 <= r <= 1e30),
    "presence_penalty": ("from -2 to 2", lambda p: -2 <= p <= 2),  # the range of the OpenAI API
    "seed": ("None or an int from 0 to 2**63 - 1", lambda s: s is None or is_int(s, 0, 2**63 - 1)),
    "max_tokens": ("an int >= 1", lambda n: is_int(n, 1)),
    "stop": (
        "strings that are not empty, and that UTF-8 has",
        lambda stop: all(is_text(text) and text for text in stop),
    ),
    "stop_token_ids": ("a list of ints >= 0", lambda ids: all(is_int(token_id, 0) for token_id in ids)),
    "ignore_eos": ("True or False", lambda yes: isinstance(yes, bool)),
    "logprobs": ("None or an int >= 0", lambda n: n is None or is_int(n, 0)),
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
        plain = {"float": _as_float, "int": as_int, "int | None": as_int, "bool": lambda value: value}
        for name, (expected, is_right) in RULES.items():
            given = getattr(self, name)
            value = plain.get(self.__annotations__[name], _as_tuple)(given)
            require(is_right(value), f"SamplingParams: {name}", expected, given)
            object.__setattr__(self, name, value)  # frozen for all others

    @property
    def takes_likeliest(self) -> bool:
        """Whether the likeliest token is the answer, so that no sampler need be asked: greedy, without penalties."""
        return self.temperature == 0 and self.repetition_penalty == 1 and self.presence_penalty == 0


def _as_float(value: Any) -> float:
    """A real number of any kind (numpy's too, but no bool); NaN, which follows no rule, for whatever else it is."""
    try:
        return float(value) if isinstance(value, Real) and not isinstance(value, bool) else float("nan")
    except OverflowError:
        return float("nan")


def _as_tuple(value: Any) -> tuple:
    """None, one str, or several of something; (None,), which follows no rule, for whatever else it is."""
    if value is None or isinstance(value, str):
        return () if value is None else (value,)
    several = isinstance(value, Iterable) and not isinstance(value, bytes | Mapping)
    return tuple(map(as_int, value)) if several else (None,)
