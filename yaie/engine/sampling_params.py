"""How a request wants its tokens chosen, and when it ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class SamplingParams:
    """What a request asks for. Every value is checked here, so nothing of it can fail later, inside a batch.

    temperature: 0 takes the most likely token (greedy); higher is more varied
    top_k: keep the `top_k` most likely tokens; -1 keeps all
    top_p: keep the fewest tokens that together have at least this probability
    min_p: drop tokens less likely than this fraction of the most likely one
    repetition_penalty: above 1 makes every token of the prompt and the answer less likely to come again
    presence_penalty: above 0 makes every token of the answer less likely to come again
    seed: two requests with the same prompt, parameters and seed get the same text, whoever shares their batch. None:
        a seed that follows from the engine's own and the number of the request.
    max_tokens: the answer ends after this many tokens
    stop: strings (or one) that end the answer; the text ends before them
    stop_token_ids: tokens that end the answer, besides the model's own
    ignore_eos: do not end at the model's own end token (for benchmarks)
    logprobs: how many of the most likely tokens to report at each place, besides the chosen one; None reports nothing

    Raises ValueError (or TypeError) naming the parameter.
    """

    temperature: float = 1.0
    top_k: int = -1
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    seed: int | None = None
    max_tokens: int = 256
    stop: str | Sequence[str] = ()
    stop_token_ids: Sequence[int] = ()
    ignore_eos: bool = False
    logprobs: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "stop", (self.stop,) if isinstance(self.stop, str) else tuple(self.stop))
        object.__setattr__(self, "stop_token_ids", tuple(self.stop_token_ids))
        # `not a <= x` and never `x < a`: NaN must not pass.
        _require(_is_number(self.temperature) and 0 <= self.temperature < float("inf"), "temperature", ">= 0", self)
        _require(_is_int(self.top_k) and (self.top_k == -1 or self.top_k >= 1), "top_k", "-1 or >= 1", self)
        _require(_is_number(self.top_p) and 0 < self.top_p <= 1, "top_p", "above 0 and at most 1", self)
        _require(_is_number(self.min_p) and 0 <= self.min_p <= 1, "min_p", "from 0 to 1", self)
        penalty = self.repetition_penalty
        _require(_is_number(penalty) and 0 < penalty < float("inf"), "repetition_penalty", "above 0", self)
        penalty = self.presence_penalty
        _require(_is_number(penalty) and -2 <= penalty <= 2, "presence_penalty", "from -2 to 2", self)
        seed = self.seed
        _require(seed is None or (_is_int(seed) and 0 <= seed < 2**63), "seed", "None or 0 to 2**63 - 1", self)
        _require(_is_int(self.max_tokens) and self.max_tokens >= 1, "max_tokens", "an int >= 1", self)
        _require(all(isinstance(s, str) and s for s in self.stop), "stop", "strings that are not empty", self)
        _require(all(_is_int(t) and t >= 0 for t in self.stop_token_ids), "stop_token_ids", "ints >= 0", self)
        logprobs = self.logprobs
        _require(logprobs is None or (_is_int(logprobs) and logprobs >= 0), "logprobs", "None or >= 0", self)

    @property
    def greedy(self) -> bool:
        """True where the most likely token is taken, so that nothing is drawn."""
        return self.temperature == 0


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _require(ok: bool, name: str, expected: str, params: SamplingParams) -> None:
    if not ok:
        raise ValueError(f"SamplingParams: {name} must be {expected}, got {getattr(params, name)!r}")
