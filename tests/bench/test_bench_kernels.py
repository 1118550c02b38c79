"""The benchmark of the kernels: every family has cases, results are checked before timing, failures are shown."""

import json
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from yaie.bench import __main__ as command
from yaie.bench import card, harness, kernels
from yaie.bench.kernel_cases import Case, Setting, Work, families, family, sampling
from yaie.kernels.ops import CSRC
from yaie.profiling.costs import Cost

SMALL = Setting("cpu")


def test_every_family_of_csrc_is_measured():
    """Would catch a kernel family that nobody measures. What is no operation of the engine has no peer to measure."""
    assert {path.parent.name for path in CSRC.glob("*/*.cu")} - {"primitives"} == set(families())


def test_cases_of_paged_attention_can_be_made():
    """Would catch a case that asks for an operation which is gone: nothing would be measured, on the next card."""
    decode, prefill = (case.make() for case in family("paged_attention").cases(SMALL))
    assert len(decode.ours) == 6
    assert prefill.ours


@pytest.mark.parametrize("name", [name for name, wishes in sampling.WISHES.items() if wishes[0] > 0])
def test_draws_of_others_are_held_to_what_is_kept(name):
    """Would catch a peer that is fast because it filters nothing, or is asked for another filter."""
    wishes, calls = sampling.WISHES[name], []
    logits = SMALL.random(3, 1500, scale=4.0)

    def draw(filters, kept):
        def by_others(probs, *settings, **_):
            calls.append((filters, [float(each[0]) for each in settings]))
            return kept(probs).int()

        return by_others

    def run(kept):
        names = {"top_k_top_p_": (50.0, 0.9), "top_k_": (50.0,), "top_p_": (0.9,), "": ()}
        theirs = {f"{each}sampling_from_probs": draw(filters, kept) for each, filters in names.items()}
        softmax = lambda x, temperatures: (x / temperatures[:, None]).softmax(-1)  # noqa: E731
        call = sampling.by_flashinfer(SimpleNamespace(**theirs, softmax=softmax), logits, wishes)
        work = Work(ours={}, peers={"theirs": call}, wanted=lambda: torch.ones(3, dtype=torch.bool))
        work = replace(work, of={"theirs": partial(sampling.is_kept, logits, wishes)})
        (row,) = kernels.measure_case(Case("a draw", lambda: work, Cost(bytes=1, flops=1)), SMALL, 0.1)["calls"]
        return "time" in row

    assert run(lambda probs: probs.argmax(-1))
    assert run(lambda probs: probs.argmin(-1)) == (name == "temperature 0.8")
    assert calls
    assert all(list(filters) == pytest.approx(settings) for filters, settings in calls)
    assert calls[0][0] == tuple(value for value, given in ((50.0, wishes[1] > 0), (0.9, wishes[2] < 1)) if given)


def make_case(answer, tolerance=0.0, **more):
    inputs = torch.arange(4.0).view(2, 2)

    def spoil():
        inputs[:] = -1

    work = Work(
        ours={"right": lambda: inputs.copy_(torch.arange(4.0).view(2, 2)), "lazy": lambda: inputs} | answer,
        peers={"torch": lambda: torch.arange(4.0).view(2, 2)},
        wanted=lambda: torch.arange(4.0).view(2, 2),
        clear=spoil,
    )
    return Case("a case", lambda: work, Cost(bytes=32, flops=4), tolerance=tolerance, **more)


def test_wrong_results_are_not_timed():
    """Would catch a kernel that is fast because it does nothing, or writes NaN."""

    def broken():
        raise ValueError("no such kernel")

    answers = {
        "nan": lambda: torch.full((2, 2), torch.nan),
        "near": lambda: torch.arange(4.0).view(2, 2) * 1.001,
        "broken": broken,
    }
    for tolerance, good in ((0.0, {"right", "torch"}), (0.01, {"right", "torch", "near"})):
        record = kernels.measure_case(make_case(answers, tolerance), SMALL, 0.1)
        assert {row["name"] for row in record["calls"] if "time" in row} == good
        assert {row["name"] for row in record["calls"] if "error" in row} == {
            *("right", "lazy", "nan", "near", "broken", "torch")
        } - good
    assert "no such kernel" in next(row["error"] for row in record["calls"] if row["name"] == "broken")


def test_calls_of_the_processor_are_timed_and_shares_are_shown(capsys):
    """Would catch a peer on the processor without its time, and a table that leaves out what a card achieved of its
    best, or computes it of the wrong numbers."""
    case = make_case({})
    work = replace(case.make(), on_cpu={"by hand": lambda: torch.arange(4.0).view(2, 2)})
    record = kernels.measure_case(replace(case, make=lambda: work), SMALL, 0.1)
    timed = {row["name"]: row for row in record["calls"] if "time" in row}
    assert timed.keys() == {"right", "torch", "by hand"}
    assert timed["by hand"]["clock"] == "wall time"
    achieved = record["bytes"] / timed["by hand"]["time"].median
    kernels.print_case(record, {record["ceiling"]: 2 * achieved})
    line = next(line for line in capsys.readouterr().out.splitlines() if "by hand" in line)
    assert " 50%" in line
    assert kernels.rate(achieved, "B/s") in line


def test_failures_are_shown_and_change_the_exit_status(monkeypatch, capsys, tmp_path):
    """Would catch a benchmark that drops what fails, and a second family that wipes the first one's record."""
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    monkeypatch.setattr(harness.results_path, "__defaults__", (tmp_path,))
    monkeypatch.setattr(harness.save_results, "__defaults__", (tmp_path,))
    threads = torch.get_num_threads()
    assert command.main(["kernels", "--device", "cpu", "--family", "warmup", "--save"]) == 0
    monkeypatch.setattr(family("memory"), "cases", lambda setting: [make_case({})])
    assert command.main(["kernels", "--device", "cpu", "--family", "memory", "--save"]) == 1
    torch.set_num_threads(threads)
    shown = capsys.readouterr().out
    assert "lazy FAILED: AssertionError" in shown
    assert "no statement about a GPU" in shown
    (path,) = tmp_path.iterdir()
    record = json.loads(path.read_text())["results"]
    assert list(record) == ["memory", "warmup"]
    assert record["warmup"]["command"] == "python -m yaie.bench kernels --device cpu --family warmup --save"
    assert record["warmup"]["cases"][0]["calls"][0]["time"]["repeats"] == 3


def test_a_dead_gpu_leaves_the_other_families_to_a_new_process(monkeypatch):
    """Would catch one faulty kernel that costs the whole run its results."""
    ran = []
    monkeypatch.setattr(kernels.subprocess, "run", lambda words, check: ran.append(words))
    assert kernels.run_the_rest(["memory", "sampling"], ["--save", "--family", "x", "--device", "cuda"]) == 1
    assert ran[0][2:] == [
        *("yaie.bench", "kernels", "--save", "--device", "cuda"),
        *("--family", "memory", "--family", "sampling"),
    ]
    assert kernels.run_the_rest([], ["--save"]) == 1
    assert len(ran) == 1


@pytest.mark.parametrize(
    ("bytes_per_call", "room", "wanted"),
    [(4 << 20, 1 << 34, 50), (1 << 30, 1 << 34, 2), (1 << 10, 1 << 34, 64), (1 << 30, 1 << 30, 1)],
)
def test_inputs_exceed_the_cache(monkeypatch, bytes_per_call, room, wanted):
    """Would catch a time at which all inputs lay in the L2 cache (50 MB here)."""

    class Properties:
        L2_cache_size = 50 << 20

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda: Properties)
    assert card.copies_needed(bytes_per_call, room) == wanted


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_timing_on_a_card():
    """Would catch times of the launch from Python instead of the kernel's, and inputs that are not taken in turn."""
    x = torch.zeros(1 << 26, device="cuda")
    used = []

    def add(i):
        used.append(i)
        return x.add_(1)

    timing = card.measure_calls([lambda: add(0), lambda: add(1)], seconds=0.05)
    assert abs(used.count(0) - used.count(1)) <= 1
    assert 1e-5 < timing.median < 1e-2
    small = torch.zeros(1, device="cuda")
    assert card.measure_graph([lambda: small.add_(1)]).median < 2e-5


def test_a_sampled_token_is_judged_by_its_place():
    """Would catch a sampler that keeps too many or too few, or draws another token than its number says."""
    logits = torch.tensor([[1.0, 3.0, 2.0, 0.0]]).log()  # weights 1, 3, 2, 0 of 6 in all
    uniforms = torch.tensor([0.3], dtype=torch.float64)

    def right(*wishes):
        judge = family("sampling").is_right
        return [bool(judge(logits, wishes, uniforms, torch.tensor([token]))) for token in range(4)]

    assert right(1.0, -1, 1.0) == [False, True, False, False]  # 0.3 lies between 1/6 and 4/6
    assert right(1.0, 1, 1.0) == [False, True, False, False]
    assert right(1.0, 2, 1.0) == [False, True, False, False]  # of 5: token 1 up to 0.6
    uniforms = torch.tensor([0.61], dtype=torch.float64)
    assert right(1.0, 2, 1.0) == [False, False, True, False]
    assert right(1.0, -1, 1.0) == [False, True, False, False]
    assert right(1.0, -1, 0.4) == [False, True, False, False]  # token 1 alone has half
    assert right(0.0, -1, 1.0) == [False, True, False, False]
