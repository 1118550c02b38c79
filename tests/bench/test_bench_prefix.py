"""Pages of a prefix read once and by each request: `python -m yaie.bench prefix`."""

from yaie.bench import prefix


def test_both_ways_are_compared_and_timed(monkeypatch, capsys):
    """Would catch two ways that read the same, a ratio upside down, and a table without the machine above it."""
    tensors, tables, lens = prefix.make("cpu", 3, 32)
    plans = prefix.ways(prefix.ops.operations("torch"), tensors, tables, lens)
    assert (plans["by each"]() - plans["once"]()).abs().max() < 2e-5
    times = {"by each": 3.0, "once": 1.5}

    def ways(*arguments):
        return {name: lambda name=name: plans[name]() * 0 + times[name] for name in plans}

    measured = []
    monkeypatch.setattr(prefix.timing, "measure", lambda call, **how: measured.append(call) or Fixed(call()))
    monkeypatch.setattr(prefix, "ways", ways)
    monkeypatch.setattr(prefix.torch.testing, "assert_close", lambda *tensors, **how: None)
    result = prefix.measure("cpu", 3, 32, repeats=2)
    assert (result["by each"], result["once"], result["ratio"]) == (3.0, 1.5, 2.0)
    monkeypatch.undo()
    prefix.main(["--device", "cpu", "--batch", "2", "--prefix", "16", "--repeats", "2"])
    printed = capsys.readouterr().out
    for part in ("device:", "python -m yaie.bench prefix --device cpu", "prefix 16", "Nothing shared"):
        assert part in printed


class Fixed:
    def __init__(self, value):
        self.median = value.flatten()[0].item()
