"""Facts, records and the two functions of the guide: each number is the one that it is said to be."""

import importlib.metadata
import json
import re

import pytest
import torch

import yaie.cuda
from yaie.bench import (
    __main__,
    benchmark_kernel,
    counters,
    fleet,
    harness,
    kernels,
    latency,
    parallel,
    peers,
    planted_bugs,
    profile_kernel,
    serve,
)
from yaie.kernels.ops import CSRC, BackendError
from yaie.profiling.timing import Timing


def test_facts_where_the_package_is_not_installed(monkeypatch):
    """Would catch a benchmark that cannot run from a copy of the repository that is only on the path."""

    def missing(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert "run from a copy" in harness.environment("x")["versions"]["yaie"]


def test_results_keep_their_facts(tmp_path):
    """Would catch a recorded number without its machine, date, versions and command."""
    facts = harness.environment("name", ["--save"])
    path = harness.save_results("name", facts, {"a": Timing(2.0, 1.0, 3.0, 5)}, tmp_path)
    assert path == harness.results_path("name", facts, tmp_path)
    written = json.loads(path.read_text())
    assert written["results"]["a"] == {"median": 2.0, "q1": 1.0, "q3": 3.0, "repeats": 5}
    assert {"device", "date", "versions", "command", "times"} <= written.keys()


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
    module = yaie.cuda.load(CSRC / "memory" / "transpose.cu", backend="emulator")
    profile_kernel(module.transpose_1_naive, torch.zeros(32, 32), torch.zeros(32, 32), 32, 32)
    assert "sectors/req" in capsys.readouterr().out


def test_facts_are_those_of_this_run():
    """Would catch a command that cannot be typed again, and a file that another device would overwrite."""
    facts = harness.environment("kernels", ["--family", "memory"], clock="CPU time")
    assert facts["command"] == "python -m yaie.bench kernels --family memory"
    assert facts["times"].startswith("CPU time; medians")
    installed, imported = (version.partition("+")[0] for version in (facts["versions"]["torch"], torch.__version__))
    assert installed == imported  # the packages of some indexes do not name the build (2.14.1 for 2.14.1+cu130)
    assert facts["device"] == harness.cpu_name() != ""
    assert harness.results_path("a", {"device": "NVIDIA H100 80GB HBM3 (1)"}).name == "a-nvidia-h100-80gb-hbm3-1.json"


def test_a_table_lines_up(capsys):
    """Would catch numbers that are not under one another, so that nobody sees which one is larger."""
    harness.print_header({"device": "card", "versions": {"a": "1", "b": "2"}})
    harness.print_table("Title", ("name", "n"), [("x", 10), ("longer", 7)])
    assert capsys.readouterr().out.splitlines() == [
        "device:    card",
        "versions:  a 1, b 2",
        "",
        "Title",
        "  name     n",
        "  ------  --",
        "  x       10",
        "  longer   7",
        "",
    ]


@pytest.mark.parametrize(
    ("bench", "arguments"),
    [
        *((latency, ["--rates", rate]) for rate in ("0", "nan", "inf", "1e300", "1e-300", "-1", "x")),
        *((latency, ["--requests", number]) for number in ("0", "-1", "1.5", "9" * 20, "9" * 5000)),
        *((latency, ["--server", url]) for url in ("", "nowhere", "http://", "http://a:99999", "http://[", "ftp://a")),
        (fleet, ["--busy", "5"]),
        (latency, ["--longest", "7"]),  # half of that is an answer, of at least 4
        (serve, ["--longest", "99"]),
        (serve, ["--temperature", "-1"]),
        (parallel, ["--ranks", "0"]),
        (parallel, ["--rounds", "1"]),
    ],
)
def test_impossible_options_are_named(bench, arguments, capsys):
    """A division by zero somewhere inside said nothing of the option."""
    with pytest.raises(SystemExit):
        bench.main(arguments)
    said = capsys.readouterr().err
    assert f"argument {arguments[0]}: expected" in said
    assert arguments[1][:70] in said
    assert len(said) < 2000


def test_what_a_benchmark_cannot_do_is_named(tmp_path, capsys):
    """A trace without requests ended in an IndexError, and pages that hold no request in a loop without an end. An
    option that would be ignored is one as well."""
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    server = ["--server", "http://127.0.0.1:1"]
    given = ["--step", "5", "--token", "5", "--replicas", "2", "--requests", "10"]
    for bench, arguments, said in (
        (latency, ["--trace", str(empty)], "nobody comes in this trace"),
        (latency, ["--trace", str(tmp_path / "none")], "--trace: .*none"),
        (latency, ["--trace", str(empty), "--requests", "100"], "--requests: has no effect beside --trace"),
        (latency, [*server, "--variants", "engine"], "--variants: has no effect beside --server"),
        (fleet, [*given, "--pages", "16"], "--pages 16: a request needs more"),
        (fleet, given[:2], "--step and --token: give both"),
        (fleet, [*given, "--shape", "tiny"], "--shape: has no effect beside --step and --token"),
        (kernels, ["--device", "cpu", "--peers"], "--peers: needs --device cuda"),
        (counters, ["--launch-only", "--save"], "--save: has no effect"),
        (peers, ["--nano-vllm", str(tmp_path / "none")], "--nano-vllm: expected a folder"),
        (peers, ["--engine", "yaie"], "--engine: needs --model"),
        (serve, ["--dtype", "relu"], "--dtype: invalid choice"),
        (serve, ["--variants", "torch", "--backend", "cuda"], "--backend: has no effect on --variants torch"),
    ):
        with pytest.raises(SystemExit):
            bench.main(arguments)
        assert re.search(said, capsys.readouterr().err)
    assert planted_bugs.main.__code__.co_argcount == 1  # as `python -m yaie.bench` calls it


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError("no answer from http://127.0.0.1:1"), "no answer from http://127.0.0.1:1"),
        (ModuleNotFoundError("x", name="openai"), "needs the package openai"),
        (BackendError("torch finds no GPU"), "torch finds no GPU"),
    ],
)
def test_what_a_machine_lacks_is_said_in_a_line(monkeypatch, capsys, error, said):
    """A wrong address and a missing package ended in tracebacks. A fault in the code still does."""

    def fail(arguments):
        raise error

    monkeypatch.setattr(fleet, "main", fail)
    assert __main__.main(["fleet"]) == 1
    assert re.fullmatch(f"python -m yaie.bench fleet: {said}.*\n", capsys.readouterr().err)
    error = RuntimeError("shapes do not match")
    with pytest.raises(RuntimeError):
        __main__.main(["fleet"])


def test_a_number_of_ranks_must_fit(capsys):
    """Two models are split: the shipped one, and that of the shape."""
    for number, shape in (("3", "llama-3-8b"), ("32", "llama-3-8b"), ("64", "qwen3-0.6b")):
        with pytest.raises(SystemExit):
            parallel.main(["--ranks", "1", number, "--shape", shape])
        assert re.search(rf"argument --ranks: .*got {number}", capsys.readouterr().err)
