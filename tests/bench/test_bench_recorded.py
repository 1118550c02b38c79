"""Recorded results are read as what they are: the graph's time where there is one, the right ceiling, no failures."""

import json

from yaie.bench import recorded
from yaie.profiling.costs import Cost

CASES = [
    {
        "case": "copy",
        "bytes": 100,
        "flops": 0,
        "ceiling": "copy",
        "calls": [
            {"name": "a_1", "ours": True, "time": {"median": 4.0}},
            {"name": "a_2", "ours": True, "time": {"median": 8.0}, "graph": {"median": 2.0}},
            {"name": "a_3", "ours": True, "error": "CompileError"},
            {"name": "torch", "ours": False, "time": {"median": 1.0}},
        ],
    },
    {
        "case": "sum",
        "bytes": 100,
        "flops": 0,
        "ceiling": "read",
        "calls": [{"name": "s", "ours": True, "time": {"median": 4.0}}],
    },
]


def test_measured_kernels(tmp_path):
    """Would catch a share against the wrong ceiling, a peer shown as ours, and emulated times taken for a card's."""
    family = {"ceilings": {"copy": 100.0, "read": 50.0, "compute": 1e3}, "cases": CASES}
    (tmp_path / "kernels-card.json").write_text(json.dumps({"device": "card", "results": {"memory": family}}))
    (tmp_path / "kernels-cpu.json").write_text(
        json.dumps({"device": "cpu", "results": {"memory": family | {"ceilings": {}}}})
    )
    card, cpu = recorded.load("kernels", tmp_path)
    assert recorded.measured_kernels(cpu) == []
    measured = recorded.measured_kernels(card)
    assert [(m.call, m.ours, m.seconds, m.share) for m in measured] == [
        ("a_1", True, 4.0, 0.25),
        ("a_2", True, 2.0, 0.5),
        ("torch", False, 1.0, 1.0),
        ("s", True, 4.0, 0.5),
    ]
    assert measured[0].cost == Cost(100, 0)
    assert [m.call for m in recorded.best_of_each_case(measured)] == ["a_2", "s"]


def test_results_of_older_kernels_are_told(tmp_path, monkeypatch):
    """Would catch numbers that are shown as those of kernels which have been changed since."""
    monkeypatch.setattr(recorded, "CSRC", tmp_path)
    (tmp_path / "memory").mkdir()
    (tmp_path / "common.cuh").write_text("shared")
    (tmp_path / "memory" / "copy.cu").write_text("kernel")
    run = {"results": {"memory": {"csrc": recorded.source_hash("memory")}}}
    assert recorded.changed_since(run) == []
    (tmp_path / "memory" / "copy.cu").write_text("// took 3 us on a card\n\nkernel  // quick")
    assert recorded.changed_since(run) == []
    (tmp_path / "memory" / "copy.cu").write_text("kernel, improved")
    assert recorded.changed_since(run) == ["memory"]


def test_what_the_repository_holds_can_be_read():
    """Would catch a change of the format that leaves the recorded files, and the lesson that shows them, behind."""
    for run in recorded.load("kernels"):
        assert {"device", "date", "versions", "command"} <= run.keys()
        for measured in recorded.measured_kernels(run):
            assert 0 < measured.share < 1.2, measured


def test_a_failed_call_is_printed_as_failed(tmp_path, monkeypatch, capsys):
    """Would catch a table of times that leaves out what failed, or that shows another family's cases."""
    facts = {"date": "2026-01-01", "versions": {"torch": "2"}, "command": "run"}
    family = facts | {"ceilings": {"copy": 100.0, "read": 50.0, "compute": 1e3}, "cases": CASES}
    runs = [{"device": "card", "results": {"memory": family, "other": family}}]
    monkeypatch.setattr(recorded, "load", lambda name: runs)
    recorded.print_times("memory", "copy")
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[-5:] == [
        "copy",
        "a_1 4,000,000.0 us 25% of the limit",
        "a_2 2,000,000.0 us 50% of the limit",
        "a_3 failed: CompileError",
        "torch 1,000,000.0 us 100% of the limit",
    ]
