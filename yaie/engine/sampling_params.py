"""How a request wants its tokens chosen, and when it ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from yaie.engine.checks import as_int, is_int, require
from yaie.kernels import sampling

# Beyond these a kernel's float32 or int64 would overflow.
LIMITS = {
    "temperature": ("0 (greedy) or from 1e-30 to 1e30", lambda t: t == 0 or 1e-30 <= t <= 1e30),
    "repetition_penalty": ("from 1e-30 to 1e30", lambda r: 1e-30 <= r <= 1e30),
    "presence_penalty": ("from -2 to 2", lambda p: -2 <= p <= 2),  # the range of the OpenAI API
    "top_k": ("-1 (all) or from 1 to 2**31 - 1", lambda k: k < 2**31),
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
        for name in sampling.RULES:
            self._set(name, as_int(getattr(self, name)) if name == "top_k" else _as_float(getattr(self, name)))
            sampling.check_parameter(name, getattr(self, name), "SamplingParams")
            expected, is_right = LIMITS.get(name, ("", lambda _: True))
            self._require(is_right(getattr(self, name)), name, expected)
        for name in ("seed", "max_tokens", "logprobs"):
            self._set(name, as_int(getattr(self, name)))
        self._require(self.seed is None or is_int(self.seed, 0, 2**63 - 1), "seed", "None or an int, 0 to 2**63 - 1")
        self._require(is_int(self.max_tokens, 1), "max_tokens", "an int >= 1")
        self._require(self.logprobs is None or is_int(self.logprobs, 0), "logprobs", "None or an int >= 0")
        self._require(isinstance(self.ignore_eos, bool), "ignore_eos", "True or False")
        self._set("stop", self._tuple_of("stop", _is_text, "strings that are not empty"))
        self._set("stop_token_ids", self._tuple_of("stop_token_ids", lambda id: is_int(id, 0), "ints >= 0"))

    @property
    def takes_likeliest(self) -> bool:
        """Whether the likeliest token is the answer, so that no sampler need be asked: greedy, without penalties."""
        return self.temperature == 0 and self.repetition_penalty == 1 and self.presence_penalty == 0

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)  # frozen for all others

    def _require(self, is_right: bool, name: str, expected: str) -> None:
        require(is_right, f"SamplingParams: {name}", expected, getattr(self, name))

    def _tuple_of(self, name: str, is_right: Any, expected: str) -> tuple:
        """A value that may be None, one str or several of something, as a tuple."""
        value = getattr(self, name)
        if value is None or isinstance(value, str):
            value = () if value is None else (value,)
        self._require(isinstance(value, Iterable) and not isinstance(value, bytes | Mapping), name, expected)
        values = tuple(as_int(item) for item in value)
        require(all(map(is_right, values)), f"SamplingParams: {name}", expected, value)
        return values


def _as_float(value: Any) -> Any:
    """A real number of any kind (numpy's too, but no bool) as a float; whatever else it is as it is."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return value
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _is_text(value: object) -> bool:
    """Whether an answer could have it: half a surrogate pair never comes out of a decoder."""
    return isinstance(value, str) and value != "" and not any("\ud800" <= letter <= "\udfff" for letter in value)
