"""How a request wants its tokens chosen, and when it ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from yaie.kernels import sampling


@dataclass(frozen=True)
class SamplingParams:
    """What a request asks for. Every value is checked here, so nothing of it can fail later, inside a batch.

    Two requests with the same prompt, parameters and seed get the same text, whoever shares their batch. Raises
    ValueError (or TypeError) naming the parameter.
    """

    temperature: float = 1.0  # 0 takes the most likely token (greedy); higher is more varied
    top_k: int = -1  # keep so many of the most likely tokens; -1 keeps all
    top_p: float = 1.0  # keep the fewest tokens that together have at least this probability
    min_p: float = 0.0  # drop tokens less likely than this fraction of the most likely one
    repetition_penalty: float = 1.0  # above 1 makes every token of prompt and answer less likely to come again
    presence_penalty: float = 0.0  # above 0 makes every token of the answer less likely to come again
    seed: int | None = None  # None: one that follows from the engine's own and the number of the request
    max_tokens: int = 256
    stop: str | Sequence[str] = ()  # strings (or one) that end the answer; the text ends before them
    stop_token_ids: Sequence[int] = ()  # tokens that end the answer, besides the model's own
    ignore_eos: bool = False  # do not end at the model's own end token (for benchmarks)
    logprobs: int | None = None  # how many of the likeliest tokens to report besides the chosen one; None: nothing

    def __post_init__(self) -> None:
        object.__setattr__(self, "stop", (self.stop,) if isinstance(self.stop, str) else tuple(self.stop))
        object.__setattr__(self, "stop_token_ids", tuple(self.stop_token_ids))
        for name in sampling.RULES:
            sampling.check_parameter(name, getattr(self, name), "SamplingParams")
        self._require("presence_penalty", "from -2 to 2", lambda x: -2 <= x <= 2)  # the range of the OpenAI API
        self._require("seed", "None or 0 to 2**63 - 1", lambda x: x is None or (_is_int(x) and 0 <= x < 2**63))
        self._require("max_tokens", "an int >= 1", lambda x: _is_int(x) and x >= 1)
        self._require("stop", "strings that are not empty", lambda x: all(isinstance(s, str) and s for s in x))
        self._require("stop_token_ids", "ints >= 0", lambda x: all(_is_int(t) and t >= 0 for t in x))
        self._require("logprobs", "None or >= 0", lambda x: x is None or (_is_int(x) and x >= 0))

    @property
    def takes_likeliest(self) -> bool:
        """Whether the likeliest token is the answer, so that no sampler need be asked: greedy, without penalties."""
        return self.temperature == 0 and self.repetition_penalty == 1 and self.presence_penalty == 0

    def _require(self, name: str, expected: str, is_right: Callable[[Any], bool]) -> None:
        value = getattr(self, name)
        if not is_right(value):
            raise ValueError(f"SamplingParams: {name} must be {expected}, got {value!r}")


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
