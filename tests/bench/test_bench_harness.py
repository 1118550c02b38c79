"""Timing, costs and the two functions of the guide: each number is the one that it is said to be."""

import importlib.metadata
import json

import pytest
import torch

import yaie.cuda
from yaie.bench import benchmark_kernel, costs, harness, profile_kernel
from yaie.course.registry import REPOSITORY


class FakeClock:
    """A clock that only moves when work is done."""

    def __init__(self, durations):
        self.now, self.durations, self.log = 0.0, iter(durations), []

    def __call__(self):
        self.log.append("clock")
        return self.now

    def work(self, *arguments):
        self.log.append(f"run{arguments if arguments else ''}")
        self.now += next(self.durations)


def test_warm_up_is_not_counted_and_the_median_is():
    """Would catch a mean (one slow run moves it) and the first run, which compiles and fills caches."""
    clock = FakeClock([100, 100, 4, 1, 2, 90, 3])
    timing = harness.measure(clock.work, repeats=5, warmup=2, clock=clock)
    assert (timing.median, timing.q1, timing.q3, timing.repeats) == (3, 2, 4, 5)
    assert float(timing) == 3


def test_set_up_is_not_counted_and_the_device_is_waited_for():
    """Would catch a clock that stops while the GPU still works, and inputs that are made on the clock."""
    clock = FakeClock([1, 2, 3])

    def prepare():
        clock.now += 50
        return "x"

    timing = harness.measure(
        clock.work, setup=prepare, items=2, repeats=2, synchronize=lambda: clock.log.append("wait"), clock=clock
    )
    assert clock.log == ["wait", "clock", "run('x',)", "wait", "clock"] * 3
    assert timing.median == 2.5 / 2
    with pytest.raises(ValueError, match="at least 2"):
        harness.measure(clock.work, repeats=1)


def test_facts_where_the_package_is_not_installed(monkeypatch):
    """Would catch a benchmark that cannot run from a copy of the repository that is only on the path."""

    def missing(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert "run from a copy" in harness.environment("x")["versions"]["yaie"]


def test_results_keep_their_facts(tmp_path):
    """Would catch a recorded number without its machine, date, versions and command."""
    facts = harness.environment("name", ["--save"])
    path = harness.save_results("name", facts, {"a": harness.Timing(2.0, 1.0, 3.0, 5)}, tmp_path)
    assert path == harness.results_path("name", facts, tmp_path)
    written = json.loads(path.read_text())
    assert written["results"]["a"] == {"median": 2.0, "q1": 1.0, "q3": 3.0, "repeats": 5}
    assert {"device", "date", "versions", "command", "times"} <= written.keys()


def test_costs_are_those_of_paper_and_pencil():
    """Would catch keys and values counted once per query head, and a causal mask that costs as much as none."""
    assert costs.matmul_cost(2, 3, 4, 2) == (2 * (8 + 12 + 6), 48)
    # 2 sequences, 10 tokens, 4 query heads on 2 KV heads of 8, in 2 bytes
    decode = costs.decode_cost(2, 10, 4, 2, 8, 2)
    assert decode.bytes == 2 * (2 * 10 * 2 * 8 * 2) + 2 * (2 * 4 * 8 * 2)
    assert decode.flops == 2 * 10 * 4 * (2 * 8 + 2 * 8)
    whole, causal = (costs.prefill_cost(1, 100, 4, 4, 8, 2, causal=c) for c in (False, True))
    assert whole.bytes == causal.bytes == 4 * 100 * 4 * 8 * 2
    assert causal.flops / whole.flops == pytest.approx(0.505)


def test_the_slower_of_moving_and_computing_counts():
    """Would catch a sum of the two times, which overlap."""
    machine = costs.Machine(bandwidth=100, peak=1000)
    assert costs.least_time(costs.Cost(bytes=100, flops=500), machine) == 1.0
    assert costs.least_time(costs.Cost(bytes=10, flops=500), machine) == 0.5
    assert costs.bound_by(costs.Cost(bytes=100, flops=500), machine) == "memory"
    assert costs.bound_by(costs.Cost(bytes=10, flops=500), machine) == "compute"
    assert costs.Cost(bytes=10, flops=500).intensity == 50


def test_benchmark_kernel_gives_the_time_and_the_result():
    """The guide's function crashed without a GPU and gave a mean of wall times."""
    calls = []

    def add(a, b, *, extra):
        calls.append(extra)
        return a + b

    timing, result = benchmark_kernel(add, torch.ones(3), torch.ones(3), extra=7)
    assert result.tolist() == [2, 2, 2]
    assert timing.q1 <= timing.median <= timing.q3
    assert len(calls) == timing.repeats + 3


def test_profile_kernel_prints_and_returns(capsys):
    """The guide's function needs a GPU."""
    result = profile_kernel(torch.softmax, torch.zeros(2, 4), dim=-1)
    assert result.tolist() == [[0.25] * 4] * 2
    assert "softmax" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="the emulator counts; on a GPU a profiler does")
def test_profile_kernel_of_an_emulated_launcher_shows_its_lines(capsys):
    """Would catch a profile of ctypes, which says nothing about the kernel."""
    module = yaie.cuda.load(REPOSITORY / "csrc" / "memory" / "transpose.cu", backend="emulator")
    profile_kernel(module.transpose_1_naive, torch.zeros(32, 32), torch.zeros(32, 32), 32, 32)
    assert "sectors/req" in capsys.readouterr().out
