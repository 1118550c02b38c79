import json

import numpy as np
import pytest

from yaie.bench import __main__ as command
from yaie.bench import harness, radix
from yaie.engine.prefix_cache import PrefixCache
from yaie.profiling.timing import Timing, measure


def test_workload_is_the_stated_one():
    """Would catch a benchmark of something else: 1,664 tokens, of which all share 1,024 and a sixteenth 512 more."""
    requests = radix.make_requests(40)
    assert {len(tokens) for tokens in requests} == {1664}
    assert len({tokens[:1024].tobytes() for tokens in requests}) == 1
    assert len({tokens[:1536].tobytes() for tokens in requests}) == 16
    assert len({tokens.tobytes() for tokens in requests}) == 40
    cache = radix.filled(PrefixCache, requests, radix.pages_for(requests))
    assert cache.total_size == 1024 + 16 * 512 + 40 * 128


def test_the_trie_finds_the_same_slots():
    """Would catch a ratio to something that does less work, or different work."""
    requests = radix.make_requests(20, scale=1 / 16)
    slots = radix.pages_for(requests)
    cache = radix.filled(PrefixCache, requests, slots)
    trie = radix.filled(radix.TokenTrie, [r.tolist() for r in requests], [s.tolist() for s in slots])
    assert trie.num_nodes == cache.total_size + 1
    for tokens in (*requests, requests[0][:70], np.array([1, 2])):
        assert cache.match(tokens).pages.tolist() == trie.match(tokens.tolist())


def test_evict_all_leaves_nothing():
    """Would catch an eviction loop that ends early, which would look fast."""
    requests = radix.make_requests(20)
    cache = radix.filled(PrefixCache, requests, radix.pages_for(requests))
    radix.evict_all(cache)
    assert cache.total_size == 0


def test_the_command_runs_and_shows_its_facts(capsys):
    """Would catch a benchmark that breaks, or numbers without device, date, versions, command and spread."""
    assert command.main(["radix", "--requests", "16", "--repeats", "2"]) == 0
    shown = capsys.readouterr().out
    for part in (
        "device:",
        "date:",
        "numpy",
        "python -m yaie.bench radix --requests 16",
        "evict all",
        "trie",
        "26,624",
    ):
        assert part in shown


def test_the_command_lists_benchmarks(capsys):
    """Would catch a name that is not found, or a module without `main` that is offered as a benchmark."""
    assert command.main([]) == 2
    assert "radix" in command.benchmarks()
    assert "harness" not in command.benchmarks()
    assert command.main(["no such"]) == 2
    captured = capsys.readouterr()
    assert "There is no benchmark 'no such'" in captured.err
    assert command.benchmarks()["radix"] in captured.out
    assert command.main(["--help"]) == 0


def test_measure_separates_setup_warm_up_and_items():
    """Would catch a setup that is timed or shared between runs, and a warm-up that is counted."""
    made, ran, waited = [], [], []
    timing = measure(
        ran.append,
        setup=lambda: made.append(None) or len(made),
        items=1000,
        repeats=3,
        warmup=2,
        synchronize=lambda: waited.append(None),
    )
    assert ran == [1, 2, 3, 4, 5]
    assert len(waited) == 10
    assert timing.repeats == 3
    assert 0 < timing.q1 <= timing.median <= timing.q3 < 0.001
    with pytest.raises(ValueError, match="repeats must be at least 2"):
        measure(lambda: None, repeats=1)


def test_times_are_shown_in_a_unit_that_fits():
    """Would catch microseconds that are shown as 0.00 s."""
    shown = [str(Timing(seconds, seconds, seconds, 3)) for seconds in (2.0, 5e-3, 1.25e-5, 3e-9)]
    assert shown == ["2 s (2-2)", "5 ms (5-5)", "12.5 us (12.5-12.5)", "3 ns (3-3)"]


def test_results_are_recorded_with_their_facts(tmp_path):
    """Would catch a recorded number from which nobody can tell where it came from."""
    facts = harness.environment("radix", ["--save"])
    path = harness.save_results("radix", facts, {"match": Timing(1e-5, 9e-6, 2e-5, 7)}, folder=tmp_path)
    recorded = json.loads(path.read_text())
    assert recorded["command"] == "python -m yaie.bench radix --save"
    assert set(recorded) == {"device", "date", "versions", "platform", "command", "times", "results"}
    assert recorded["results"]["match"] == {"median": 1e-5, "q1": 9e-6, "q3": 2e-5, "repeats": 7}


def test_recorded_results_have_their_facts():
    """Would catch a file that was put among the recorded results by hand."""
    for path in harness.RESULTS.glob("*.json"):
        recorded = json.loads(path.read_text())
        assert {"device", "date", "versions", "command", "results"} <= set(recorded), path.name
