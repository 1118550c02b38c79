"""The benchmark of latency: an open loop whose times count from when a request was due."""

import itertools
import json
import random

import pytest

from tests.server.conftest import running, tiny
from yaie.bench import latency


def test_arrivals_come_at_the_rate_that_is_asked_for():
    """Would catch a load that is lighter than it is said to be."""
    for kind, arrivals in latency.ARRIVALS.items():
        times = list(itertools.islice(arrivals(20.0, random.Random(1)), 8000))
        assert times == sorted(times)
        assert 8000 / times[-1] == pytest.approx(20, rel=0.1), kind
    assert len(set(times)) == 1000  # bursts of eight


def test_a_slow_engine_gets_a_queue():
    """Would catch times that begin when the engine takes a request: then waiting would cost nothing."""

    class Slow:
        """One request at a time, three steps each, which take 10 ms."""

        def __init__(self):
            self.queue, self.has_unfinished_requests = [], False

        def add_request(self, prompt, params):
            self.queue.append([len(self.queue), params.max_tokens])
            self.has_unfinished_requests = True
            self.number = getattr(self, "number", -1) + 1
            self.queue[-1][0] = self.number
            return self.number

        def step(self):
            latency.time.sleep(0.01)
            request = self.queue[0]
            request[1] -= 1
            if request[1] == 0:
                self.queue.pop(0)
            self.has_unfinished_requests = bool(self.queue)
            return [latency_chunk(request[0])]

    load = [latency.Arrival(0.0, [5], 3) for _ in range(5)]
    latency.drive_engine(Slow(), load)
    assert [len(arrival.token_times) for arrival in load] == [3] * 5
    firsts = [arrival.first for arrival in load]
    assert all(first >= 0.01 + 0.03 * place for place, first in enumerate(firsts))


def latency_chunk(request_id):
    return type("Chunk", (), {"request_id": request_id, "token_ids": [1], "output": None})()


def test_percentiles_and_goodput():
    """Would catch a mean that is called p99, and a request that missed its limit and counts as good."""
    load = [latency.Arrival(float(i), [5], 2) for i in range(10)]
    for i, arrival in enumerate(load):
        arrival.token_times = [i + 0.1 * (i + 1), i + 0.1 * (i + 1) + 0.01]
    load.append(latency.Arrival(0.0, [5], 2, error="no"))
    told = latency.summary(load, first=0.55, between=0.02)
    assert told["first"]["50"] == pytest.approx(0.55)
    assert told["first"]["99"] == pytest.approx(0.991)
    assert told["between"]["90"] == pytest.approx(0.01)
    seconds = 9 + 1.01
    assert told["goodput"] == pytest.approx(5 / seconds)
    assert told["tokens_per_second"] == pytest.approx(20 / seconds)
    assert told["failed"] == 1
    with pytest.raises(RuntimeError, match="no request was served"):
        latency.summary(load[-1:], 1, 1)


def test_a_trace(tmp_path):
    """Sorted by time; a line that is wrong is named."""
    path = tmp_path / "trace.jsonl"
    lines = [{"at": 2, "prompt_tokens": 3, "answer_tokens": 4}, {"at": 0.5, "prompt_tokens": 1, "answer_tokens": 2}]
    path.write_text("\n".join(map(json.dumps, lines)))
    load = latency.recorded(path, 100)
    assert [(a.due, len(a.prompt), a.num_tokens) for a in load] == [(0.5, 1, 2), (2.0, 3, 4)]
    entry = '{"at": %s, "prompt_tokens": %s, "answer_tokens": 1}'
    values = [("-1", "1"), ("NaN", "1"), ("1e999", "1"), ("true", "1"), ("1", "0"), ("1", "1e9"), ("1", "9" * 5000)]
    for wrong in ("{", "[]", '{"at": 1}', *(entry % each for each in values)):
        path.write_text(f"{json.dumps(lines[0])}\n{wrong}")
        with pytest.raises(ValueError, match="line 2: expected"):
            latency.recorded(path, 100)


def test_it_runs_against_an_engine_and_a_server(capsys):
    """Would catch requests that are lost and still count as fast."""
    small = ["--rates", "200", "--requests", "6", "--longest", "16"]
    assert latency.main([*small, "--backend", "torch", "--variants", *latency.VARIANTS]) is None
    out = capsys.readouterr().out
    assert all(f"{name} " in out for name in latency.VARIANTS)
    with running(tiny()) as server:
        latency.main([*small, "--server", server.url])
        server.wait_until_idle()
        assert server.llm.stats()["finished"] == 6
    row = capsys.readouterr().out.split("server ")[-1].split()
    assert row[0] == "200.0"
