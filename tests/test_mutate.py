"""The tool that looks for tests that would not notice: what it changes, which tests it runs, what it leaves behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import mutate
from yaie.course import changes

CLAMP = "def clamp(n: int) -> int:\n    if n > 3:\n        return 3\n    return n\n"
TEST = "from yaie.x.y import clamp\n\n\ndef test_it():\n    assert (clamp(5), clamp(1)) == (3, 1)\n"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < b", ["a <= b", "a > b", "pass"]),
        ("a < b == c", ["a <= b == c", "a > b == c", "a < b != c", "pass"]),
        ("((a)  not  in (b))", ["((a)  in (b))", "pass"]),
        ("a and b", ["a or b", "pass"]),
        ("a = not b", ["a =  b"]),
        (
            "x[0] += 1",
            ["x[0] -= 1", "pass", "x[(0 + 1)] += 1", "x[(0 - 1)] += 1", "x[0] += (1 + 1)", "x[0] += (1 - 1)"],
        ),
        ("a = True", ["a = False"]),
        ("def f(a=False): 'words'", ["def f(a=True): 'words'"]),
        ("def f(a: list[1]) -> 2: return a", ["def f(a: list[1]) -> 2: pass"]),
        ("if ü: g(ß, b)", ["if (not (ü)): g(ß, b)", "if ü: pass", "if ü: g(b, ß)"]),
        ("b = [a for a in b if a if c]", ["b = [a for a in b if (not (a)) if c]"]),
        ("a = min(*b)", ["a = max(*b)"]),
        ("for a in b:\n  if a: break", ["for a in b:\n  if (not (a)): break", "for a in b:\n  if a: continue"]),
        ("a = f'{1 + 1}'", []),
        ("raise a", ["pass"]),
        ("a.b = c; d = e", ["pass; d = e"]),
        ("a = b if c else d", ["a = b if (not (c)) else d"]),
    ],
)
def test_what_is_changed(source, expected):
    """Would catch an operator found in the wrong place (ü is one column and two bytes), or words that are changed."""
    found = [changes.changed(source.encode(), change).decode() for change in changes.changes(source.encode())]
    assert sorted(found) == sorted(expected)


def test_every_operator_has_another():
    """Would catch a crash in the middle of a long run, at the first `@` or `^`."""
    for old, others in changes.OPERATORS.items():
        assert [changes.OPERATOR.fullmatch(other.encode())[0].decode() for other in others] == list(others)
        source = f"a {old} b".encode()
        assert len(changes.changes(source)) == len(others) + 1


def test_the_tests_that_name_a_file_come_first():
    """Would catch a run over all tests of a room for each change that the first one notices."""
    assert mutate.tests_of(Path("yaie/engine/pages.py"))[0] == "tests/engine/test_pages.py"
    assert mutate.tests_of(Path("yaie/chat.py"))[0] == "tests/test_chat.py"
    assert mutate.tests_of(Path("yaie/kernels/ops/sampling.py"))[0] == "tests/kernels/test_sampling.py"


def test_survivors_are_shown_and_nothing_else_is_left(tmp_path):
    """Would catch a run whose tests import the unchanged code, and one that changes the working tree."""
    here = {
        "yaie/__init__.py": "",
        "yaie/x/__init__.py": "",
        "yaie/x/y.py": CLAMP,
        "tests/x/test_y.py": TEST,
        "tests/mutate.py": Path(mutate.__file__).read_text(),
        "yaie/course/changes.py": Path(changes.__file__).read_text(),
    }
    for name, text in here.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [sys.executable, "-B", "-m", "tests.mutate", "yaie/x/y.py", "--seed", "0", "--count", "99", "--only", "0", "6"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path), "YAIE_CACHE_DIR": str(tmp_path / "none")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    tried, killed, survived = map(int, done.stdout.split()[-3:])
    assert (tried, killed, survived) == (2, 1, 1), done.stdout
    assert "y.py:2  survived, number 6" in done.stdout
    assert "+    if n >= 3:" in done.stdout
    left = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == here


def test_a_hang_counts_as_noticed(tmp_path, monkeypatch):
    """Would catch a run that a changed loop keeps for ever, with what that loop had started."""
    monkeypatch.setenv("YAIE_CACHE_DIR", str(tmp_path / "none"))
    (tmp_path / "test_it.py").write_text("import time\n\n\ndef test_it():\n    time.sleep(600)\n")
    assert not mutate.passes(tmp_path, ["test_it.py"], seed=0, limit=1)
    (tmp_path / "test_fast.py").write_text("def test_it():\n    assert True\n")
    assert mutate.passes(tmp_path, ["test_fast.py"], seed=0)
