"""How long people waited: what is told of a load of requests, each with the times at which its tokens came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

PERCENTILES = (50, 90, 99)


class NothingServed(RuntimeError):
    """There is nothing to tell of a load: the message names the first error."""


@dataclass
class Waited:
    """What a request has waited for. All times are in seconds from one start."""

    due: float  # when its client sent it, or would have if it had not been held up
    token_times: list[float] = field(default_factory=list, kw_only=True)  # when each of its tokens came
    error: str | None = field(default=None, kw_only=True)

    @property
    def first(self) -> float:
        return self.token_times[0] - self.due

    @property
    def between(self) -> np.ndarray:
        return np.diff(self.token_times)

    @property
    def whole(self) -> float:
        return self.token_times[-1] - self.due


def goodput(load: Sequence[Waited], first: float, between: float) -> float:
    """Requests per second that kept two limits in seconds: on the first token, and on the mean gap after it."""
    done = [request for request in load if not request.error]
    if not done:
        return 0.0
    kept = [
        request
        for request in done
        if request.first <= first and (len(request.token_times) < 2 or request.between.mean() <= between)
    ]
    return len(kept) / seconds_of(load)


def seconds_of(load: Sequence[Waited]) -> float:
    """From the moment at which the first request was due to the last token of all."""
    return max(request.token_times[-1] for request in load if not request.error) - min(each.due for each in load)


def summary(load: Sequence[Waited], first: float, between: float) -> dict[str, Any]:
    """Percentiles in seconds, tokens and requests per second, and the goodput under two limits."""
    done = [request for request in load if not request.error]
    if not done:
        raise NothingServed(f"no request was served; the first failed with: {load[0].error}")
    times = {
        "first": [request.first for request in done],
        "between": np.concatenate([request.between for request in done]),
        "whole": [request.whole for request in done],
    }
    seconds = seconds_of(load)
    return {
        **{name: dict(zip(map(str, PERCENTILES), _percentiles(values), strict=True)) for name, values in times.items()},
        "tokens_per_second": sum(len(request.token_times) for request in done) / seconds,
        "requests_per_second": len(done) / seconds,
        "goodput": goodput(load, first, between),
        "failed": len(load) - len(done),
    }


def _percentiles(values: Any) -> list[float]:
    return [float(value) for value in np.percentile(values, PERCENTILES)] if len(values) else [0.0] * len(PERCENTILES)
