"""Files that would hang or kill a notebook, through the real check: each is named, in time, and the caller lives on."""

import os
import signal
import threading
import time

import pytest

from yaie.course import checks, generate
from yaie.course.registry import find_exercise
from yaie.course.sandbox import Sandbox

HEAD = "def blocks_needed(self, num_tokens):\n    "

HOSTILE = {
    "endless loop": ("while True:\n        pass", "still running"),
    "os._exit": ("import os\n    os._exit(0)", "ended the whole Python process (exit code 0)"),
    "null pointer": ("import ctypes\n    ctypes.string_at(0)", "SIGSEGV"),
    "abort": ("import os\n    os.abort()", "SIGABRT"),
    "full memory": ("return [bytearray(1 << 20) for _ in range(1 << 20)]", "more than 1 GiB of memory"),
    "full memory in torch": ("import torch\n    return torch.zeros(1 << 40)", "more than 1 GiB of memory"),
    "a million lines": ("for i in range(1000000):\n        print(i)", "printed more than"),
    "sys.exit": ("import sys\n    sys.exit(3)", "SystemExit"),
    "deep recursion": ("return self.blocks_needed(num_tokens)", "RecursionError"),
}


def file_with(body):
    exercise = find_exercise("0.1")
    return generate.exercise_file(exercise.lesson, {"0.1": HEAD + body})


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_function_is_named(name, sandbox, exercises):
    """Learner code that ends or blocks its process must give a message and leave the caller unharmed."""
    body, message = HOSTILE[name]
    started = time.monotonic()
    outcome = checks.check("0.1", file_with(body), sandbox)
    assert outcome.status == checks.FAILED
    assert message in outcome.headline
    assert dict(outcome.rows)["Tried"] == "blocks_needed(1) with block_size 4"
    assert time.monotonic() - started < 4 * find_exercise("0.1").time_limit
    assert checks.check("0.1", file_with("return -(-num_tokens // self.block_size)"), sandbox).passed


def test_where_it_hung_is_said(sandbox, exercises):
    """A learner with an endless loop needs the line."""
    rows = dict(checks.check("0.1", file_with("n = 0\n    while n < 1:\n        n = 0"), sandbox).rows)
    assert "00_start_here.py, line" in rows["Where"]


def test_syntax_error_shows_the_line(sandbox, exercises):
    outcome = checks.check("0.1", file_with("return (num_tokens"), sandbox)
    assert outcome.status == checks.FAILED
    assert "syntax error in line" in outcome.headline
    assert "`return (num_tokens`" in outcome.headline


def test_renamed_function_is_named(sandbox, exercises):
    text = file_with("return 1").replace("blocks_needed(", "block_needed(")
    outcome = checks.check("0.1", text, sandbox)
    assert outcome.status == checks.FAILED
    assert "has no function `KVCacheManager.blocks_needed`" in outcome.headline
    assert "`block_needed`: was it renamed?" in outcome.headline


def test_changed_parameters_are_named(sandbox, exercises):
    text = file_with("return 1").replace("num_tokens)", "tokens)")
    outcome = checks.check("0.1", text, sandbox)
    assert outcome.status == checks.FAILED
    assert "takes (self, tokens)" in outcome.headline


def test_error_at_import_is_named(sandbox, exercises):
    outcome = checks.check("0.1", file_with("return 1") + "\nimport no_such_module\n", sandbox)
    assert outcome.status == checks.FAILED
    assert "cannot be run: ModuleNotFoundError" in outcome.headline


def test_exception_shows_the_learners_line(sandbox, exercises):
    outcome = checks.check("0.1", file_with("return num_tokens / 0"), sandbox)
    assert "ZeroDivisionError" in outcome.headline
    assert "`return num_tokens / 0`" in dict(outcome.rows)["Where"]


def test_what_it_printed_is_shown(sandbox, exercises):
    """Print debugging must work inside the sandbox."""
    outcome = checks.check("0.1", file_with("print('n is', num_tokens)\n    return 1"), sandbox)
    assert "n is 1" in dict(outcome.rows)["It printed"]


def test_interrupt_stops_the_worker_at_once(exercises):
    """Ctrl-C during an endless loop must not wait for the time limit, and the next check must work."""
    own = Sandbox()
    assert not checks.check("0.1", file_with("return 1"), own).passed
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        checks.check("0.1", file_with("while True: pass"), own)
    assert time.monotonic() - started < 5
    assert checks.check("0.1", file_with("return -(-num_tokens // self.block_size)"), own).passed
    own.close()
