"""What `/metrics` says, for Prometheus: counts of the engine as it is asked, and times as clients see them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

# Seconds: from a step of a small model on a card to an answer of minutes.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
COUNTERS = ("steps", "finished", "prompt_tokens", "cached_tokens", "computed_tokens", "generated_tokens")
COUNTERS += ("preemptions", "evicted_pages")


class Metrics:
    """The metrics of one server: a registry of its own, so that two servers in a process do not share theirs."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._engine: dict[str, Any] = {}
        self._registry.register(self)

        def times(name: str, text: str) -> Histogram:
            return Histogram(f"yaie_{name}_seconds", text, buckets=BUCKETS, registry=self._registry)

        self.first = times("time_to_first_token", "From the request to the first token of an answer")
        self.between = times("time_between_tokens", "From one token of an answer to the next")
        self.whole = times("request", "From the request to the end of an answer")
        self.answers = Counter("yaie_answers", "Answers by how they ended", ["reason"], registry=self._registry)
        self.refused = Counter("yaie_refused", "Requests refused, by HTTP status", ["status"], registry=self._registry)

    def text(self, stats: dict[str, Any]) -> bytes:
        """All metrics, with the engine's own `stats`."""
        self._engine = stats
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """For the registry: what the engine counts."""
        if not self._engine:
            return
        for name in ("waiting", "running"):
            yield GaugeMetricFamily(f"yaie_requests_{name}", f"Requests {name}", self._engine[name])
        yield GaugeMetricFamily("yaie_prefix_hit_rate", "Cached part of all prompt tokens", self._engine["hit_rate"])
        pages = GaugeMetricFamily("yaie_pages", "Pages of the pool by owner", labels=["owner"])
        for owner, number in self._engine["pages"].items():
            if owner != "pool":  # the sum of the others
                pages.add_metric([owner], number)
        yield pages
        for name in COUNTERS:
            yield CounterMetricFamily(f"yaie_{name}", f"{name.replace('_', ' ')} since the start", self._engine[name])


@dataclass
class Stopwatch:
    """The times of one answer."""

    metrics: Metrics
    start: float = field(default_factory=time.perf_counter)
    last: float | None = None  # when its latest token came
    is_over: bool = False

    def saw(self, num_tokens: int, reason: str | None) -> None:
        """Tokens have come, and perhaps the end."""
        now = time.perf_counter()
        if num_tokens:
            if self.last is None:
                self.metrics.first.observe(now - self.start)
            else:
                self.metrics.between.observe(now - self.last)
            self.last = now
        if reason:
            self.metrics.whole.observe(now - self.start)
            self.metrics.answers.labels(reason).inc()
            self.is_over = True

    def left(self) -> None:
        """The client has. If the answer was not over, nobody waits for it, so how long it took says nothing."""
        if not self.is_over:
            self.metrics.answers.labels("abort").inc()
