"""Ranks that are processes, and what happens when something goes wrong. That their tokens are right, the spine says."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from operator import attrgetter
from types import SimpleNamespace

import pytest
import torch

from yaie.engine.llm import LLM
from yaie.engine.sampling_params import SamplingParams
from yaie.parallel.ranks import RankError, Ranks

RANK = attrgetter("rank")  # makes an object that every process knows, and that differs between ranks: 0, 1


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") if os.path.exists(f"/proc/{pid}/stat") else contextlib.nullcontext() as stat:
        return stat is None or stat.read().rpartition(")")[2].split()[0] != "Z"


def workers_of(pid):
    """The processes that `pid` started and that are ranks."""
    shown = ["ps", "-A", "-ww", "-o", "pid=,ppid=,args="]
    found = subprocess.run(shown, capture_output=True, text=True, check=True).stdout.splitlines()
    return [int(line.split()[0]) for line in found if "yaie.parallel.worker" in line and int(line.split()[1]) == pid]


def test_an_engine_is_cut_and_loses_a_rank():
    """Would catch ranks that no longer do the same after Ctrl-C (another answer, or none), a dead rank for which the
    engine waits or that it does not name.
    """
    llm = LLM("tiny", tensor_parallel=2, num_blocks=40, overlap=True)
    (worker,) = workers_of(os.getpid())
    params = SamplingParams(temperature=0, max_tokens=40, ignore_eos=True)
    expected = llm.generate(["a", "b;c"], params)

    ids = [llm.add_request(prompt, params) for prompt in ("a", "b;c")]
    outputs, num_cuts = {}, 0
    while llm.has_unfinished_requests:
        if num_cuts < 3:
            cut = threading.Timer(0.004 * (num_cuts + 1), os.kill, (os.getpid(), signal.SIGINT))
            cut.start()
        try:
            while llm.has_unfinished_requests:
                outputs |= {chunk.request_id: chunk.output for chunk in llm.step() if chunk.output}
            cut.join()
        except KeyboardInterrupt:
            num_cuts += 1
    with contextlib.suppress(KeyboardInterrupt):
        cut.join()
    assert num_cuts
    assert [outputs[id].token_ids for id in ids] == [output.token_ids for output in expected]
    llm.check_integrity()

    stream = llm.stream("a", SamplingParams(max_tokens=3000, ignore_eos=True))
    next(stream)
    os.kill(worker, signal.SIGKILL)
    start = time.monotonic()
    last = list(stream)[-1].output
    assert time.monotonic() - start < 60
    assert last.finish_reason == "error"
    assert f"rank 1 of 2 (process {worker}) was killed by SIGKILL" in last.error
    assert "rank 1 of 2" in llm.generate("a")[0].error  # and nothing waits now either
    assert workers_of(os.getpid()) == []


def test_an_exception_ends_all_ranks():
    """Would catch ranks that go on after one of them left a call in the middle: they would add up different things. And
    a wait for a device that waits for a rank which has ended.
    """
    ranks = Ranks(2, "cpu", RANK)
    assert ranks.call("__add__", 5) == 5
    dead = threading.Event()
    ranks.when_dead(dead.set)
    assert ranks.call("to_bytes", 0, "little") == b""  # 1 does not fit
    never, said = threading.Event(), r"rank 1 of 2 \(process \d+\) failed: OverflowError: int too big to convert"
    with pytest.raises(RankError, match=said):
        ranks.wait(SimpleNamespace(synchronize=never.wait))
    never.set()
    assert dead.wait(60)
    with pytest.raises(RankError, match=said):
        ranks.call("__add__", 5)
    ranks.close()

    ranks = Ranks(2, "cpu", RANK)
    (worker,) = workers_of(os.getpid())
    with pytest.raises(ZeroDivisionError):
        ranks.call("__rfloordiv__", 5)
    with pytest.raises(RankError, match="rank 0 failed: ZeroDivisionError"):
        ranks.call("__add__", 5)
    wait_until(lambda: not is_alive(worker))


class Busy:
    """Computes for as long as it is told."""

    def __init__(self, group):
        self.group = group

    def compute(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass
        return int(self.group.all_reduce(torch.ones(1)))


def test_a_rank_that_does_not_run_ends_all(monkeypatch):
    """Would catch an engine that waits for ever for a rank that was stopped and has not died, and one that ends because
    of a rank that computes for longer than a silence may last.
    """
    monkeypatch.setattr("yaie.parallel.ranks.SILENCE", 5.0)
    ranks = Ranks(2, "cpu", Busy)
    assert ranks.call("compute", 7.0) == 2
    (worker,) = workers_of(os.getpid())
    os.kill(worker, signal.SIGSTOP)
    with pytest.raises(RankError, match=rf"rank 1 of 2 \(process {worker}\) has not run for 5 s"):
        ranks.call("compute", 0.0)
    wait_until(lambda: not is_alive(worker))
    ranks.close()


def test_ranks_that_slept_go_on():
    """Would catch a service that ends because its machine was asleep: then no rank has run, and rank 0 wakes first."""
    script = "from yaie.parallel import ranks; from operator import attrgetter; ranks.SILENCE = 5.0\n"
    script += "made = ranks.Ranks(2, 'cpu', attrgetter('rank')); print(made.call('__add__', 5), flush=True)\n"
    script += "input(); print(made.call('__add__', 7)); made.close()"
    command, pipe = [sys.executable, "-c", script], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout.readline() == "5\n"
        (worker,) = workers_of(process.pid)
        for pid in (worker, process.pid):
            os.kill(pid, signal.SIGSTOP)
        time.sleep(7)
        for pid in (process.pid, worker):
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.5)
        assert process.communicate("\n", timeout=60) == ("7\n", "")


def test_ranks_end_with_rank_0():
    """Would catch orphans that hold a GPU's memory after the service was killed."""
    script = "import time; from operator import *; from yaie.parallel.ranks import Ranks\n"
    script += "ranks = Ranks(2, 'cpu', attrgetter('rank')); print('ready', flush=True); time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    (worker,) = workers_of(process.pid)
    process.kill()
    process.communicate()
    wait_until(lambda: not is_alive(worker))


def test_a_service_ends_with_its_rank():
    """Would catch a server that answers every request with an error, for ever."""
    command = [sys.executable, "-m", "yaie.cli", "serve", "--port", "0", "--tensor-parallel", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        url = process.stdout.readline().split()[3]
        (worker,) = workers_of(process.pid)
        body = b'{"model": "tiny", "prompt": "2+3=", "max_tokens": 2, "temperature": 0}'
        request = urllib.request.Request(f"{url}/v1/completions", body, {"Content-Type": "application/json"})
        assert b'"text"' in urllib.request.urlopen(request, timeout=60).read()
        os.kill(worker, signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 1
        assert f"yaie serve: rank 1 of 2 (process {worker}) was killed by SIGKILL" in errors
    finally:
        process.kill()
        process.communicate()


def test_what_cannot_be_split_starts_nothing(monkeypatch):
    monkeypatch.setattr("yaie.models.shard.Ranks", lambda *_: pytest.fail("ranks were started"))
    for options, said in (
        ({"tensor_parallel": 3}, "must divide the model's num_heads=8, got 3"),
        ({"tensor_parallel": 0}, "tensor_parallel"),
        ({"tensor_parallel": "2"}, "tensor_parallel"),
        ({"tensor_parallel": 2, "model": (None, None, None)}, "must be a folder or a name"),
    ):
        with pytest.raises(ValueError, match=said):
            LLM(**options)
    if torch.cuda.is_available():
        with pytest.raises(ValueError, match="must be at most the"):
            LLM(tensor_parallel=64)
