"""`yaie dev mutate`: what it changes, and that it shows just what a check lets pass."""

import pytest

from yaie import cli
from yaie.course import judge
from yaie.course.tools import mutate


def test_survivors_are_shown(sandbox, monkeypatch, capsys):
    """Would catch a tool that finds no hole in a check that has one, or finds one where there is none."""
    monkeypatch.setattr(judge, "_sandbox", sandbox)
    with monkeypatch.context() as patch:
        patch.setattr(mutate.os, "cpu_count", lambda: 1)  # each would start a server of its own
        assert cli.main(["dev", "mutate", "0.1"]) == 0
    assert "3 changes tried, 0 pass the check" in capsys.readouterr().out
    monkeypatch.setattr(mutate.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(judge, "passes", lambda exercise, text, sandbox: "-(-num_tokens * self" in text)
    assert cli.main(["dev", "mutate", "0.1"]) == 1
    said = capsys.readouterr().out
    assert "+    return -(-num_tokens * self.block_size)" in said
    assert "3 changes tried, 1 pass the check" in said


def test_a_reference_that_fails_is_an_error(monkeypatch, capsys):
    """Where nothing passes, "0 pass the check" would praise the check."""
    failed = judge.Outcome(None, judge.FAILED, "It does not compile.")
    monkeypatch.setattr(failed.__class__, "__str__", lambda self: self.headline)
    monkeypatch.setattr(judge, "check", lambda id, text: failed)
    assert cli.main(["dev", "mutate", "0.1"]) == 2
    assert "does not pass: It does not compile." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("yaie/course/lessons/12_paged_attention/12.3_warp_dot/wrong/new.cu", {"12.3"}),
        ("yaie/profiling/costs.py", {"18.2"}),
        ("csrc/paged_attention/paged_decode_2_warp_per_head.cu", {"12.3"}),
        ("README.md", set()),
    ],
)
def test_exercises_that_a_change_touches(path, expected):
    """Would catch a list for CI that misses a changed check or a changed function, or goes through all exercises."""
    assert {exercise.id for exercise in mutate.touched([path])} == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("x[i] = a < 3;", ["x[i] += a < 3;", "x[i] = a <= 3;", "x[i] = a < (3 + 1);", "x[i] = a < (3 - 1);", ";"]),
        ("f(a, b + c);", ["f(b + c, a);", "f(a, b - c);", ";"]),
        ("float* p;  // a < b", []),
        ("m = max(m, x);", ["m += max(m, x);", "m = min(m, x);", "m = max(x, m);", ";"]),
        ("return;", [";"]),
        ("x[i] = 1.5f;", ["x[i] += 1.5f;", ";"]),
    ],
)
def test_what_is_changed_in_cuda(body, expected):
    """Would catch a comment, a pointer's mark or a signature that is changed, and a kind of change that is not made."""
    head = "__global__ void f(int n = 1) {\n    "
    assert sorted(mutate.in_cuda(f"{head}{body}\n}}")) == sorted(f"{head}{each}\n}}" for each in expected)
