"""Files that would hang or kill a notebook, through the real check: each is named, in time, and the caller lives on."""

import pathlib
import time
from dataclasses import replace

import pytest

from tests.course.conftest import Limited
from yaie.course import judge
from yaie.course.registry import find_exercise

WRONG = "The list of the ten results is wrong."
RIGHT = "return -(-num_tokens // self.block_size)"
FORGED = (
    b'{"end": "finished", "code": 0, "result": {"passed": true}, "output": "", "current_input": "", "stack": ""}\\n'
)
HEAD = "def blocks_needed(self, num_tokens):\n    "

HOSTILE = {
    "endless loop": ("while True:\n        pass", "still running"),
    "os._exit": ("import os\n    os._exit(0)", "ended the whole Python process (exit code 0)"),
    "null pointer": ("import ctypes\n    ctypes.string_at(0)", "SIGSEGV"),
    "abort": ("import os\n    os.abort()", "SIGABRT"),
    "full memory": ("return [bytearray(1 << 20) for _ in range(1 << 20)]", "more than 1 GiB of memory"),
    "full memory in torch": ("import torch\n    return torch.zeros(1 << 40)", "more than 1 GiB of memory"),
    "a million lines": ("for i in range(1000000):\n        print(i)", "printed more than"),
    "kill -9": ("import os\n    os.kill(os.getpid(), 9)", "SIGKILL"),
    "error without text": ("raise ValueError", "It raised ValueError"),
    "error that cannot be shown": (
        "class E(Exception):\n        def __str__(self): 1 / 0\n    raise E",
        "It raised E: <a E, which cannot be shown",
    ),
    "error that exits when it is shown": (
        "class E(Exception):\n        def __str__(self): raise SystemExit\n    raise E",
        "It raised E: <a E, which cannot be shown: SystemExit>",
    ),
    "no output left": ("import sys\n    sys.stdout.close(), sys.stderr.close()\n    return 7", WRONG),
    "no file left": ("import os\n    os.closerange(0, 5000)\n    return 7", WRONG),
    "print replaced": ("import builtins\n    builtins.print = None\n    return 7", WRONG),
    "open replaced": ("import builtins, io\n    builtins.open = None\n    return 7", WRONG),
    "os._exit replaced": ("import os\n    os._exit = lambda code: None\n    return 7", WRONG),
    "signals blocked": (
        "import signal\n    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n    return 7",
        WRONG,
    ),
    "a thread left behind": (
        "import threading, time\n    threading.Thread(target=time.sleep, args=(60,)).start()\n    return 7",
        WRONG,
    ),
    "a fork that goes on": ("import os\n    if num_tokens == 9: os.fork()\n    return 7", WRONG),
    "a fork that passes": (
        "import os\n    if 'child' not in globals(): globals()['child'] = os.fork() == 0\n"
        "    if child:\n        RIGHT\n    return 7",
        WRONG,
    ),
    "a fork in a loop": ("import os\n    while True:\n        os.fork()", "more than 64 processes"),
    "an endless file": (
        # a hole of 255 MiB, which takes no place on the disk, and then byte for byte
        "with open('/tmp/yaie-endless', 'wb') as file:\n        file.seek(255 << 20)\n"
        "        while True: file.write(bytes(1 << 16))",
        "It raised OSError: [Errno 27] File too large",
    ),
    "blind writes": (
        "import os\n    for fd in range(3, 256):\n        try: os.write(fd, FORGED)\n        except OSError: pass\n"
        "    return 7",
        WRONG,
    ),
    "a blind write": ("import os\n    os.write(5, FORGED)", "It raised OSError: [Errno 9] Bad file descriptor"),
    "sys.exit": ("import sys\n    sys.exit(3)", "SystemExit"),
    "deep recursion": ("return self.blocks_needed(num_tokens)", "RecursionError"),
}


def file_with(body):
    exercise = find_exercise("0.1")
    body = body.replace("FORGED", repr(FORGED)).replace("RIGHT", RIGHT)
    return exercise.file.language.render(exercise.file, {"0.1": HEAD + body})


SECONDS = {"full memory": 60.0, "full memory in torch": 60.0, "endless loop": 1.0}  # a busy machine fills no GiB in 3


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_function_is_named(name, sandbox, exercises):
    """Learner code that ends, blocks or bends its process must be named, leave the caller unharmed, and neither pass
    nor change the answer of the next check.

    Brothers: ends by exit, signal or memory; loops; floods of output, files or processes; errors that cannot be shown;
    streams, files, `print`, `open` and `os._exit` taken away or replaced; signals blocked; threads and forks that go
    on; writes to whatever is open. In `test_sandbox`: daemons, a server that is killed or stopped.
    """
    body, message = HOSTILE[name]
    started = time.monotonic()
    outcome = judge.check("0.1", file_with(body), Limited(sandbox, SECONDS[name]) if name in SECONDS else sandbox)
    assert outcome.status == judge.FAILED
    assert message in outcome.headline
    if "loop" not in name or name == "endless loop":  # with many processes the last word is anybody's
        tried = "blocks_needed(0), blocks_needed(1), ... blocks_needed(9)" if message == WRONG else "blocks_needed(1)"
        assert dict(outcome.rows)["Tried"] == f"{tried} with block_size 4"
    if name in ("endless loop", "null pointer", "abort"):  # whoever has to find the place needs the line
        assert "00_start_here.py, line" in dict(outcome.rows)["Where"]
    assert "memory" in name or time.monotonic() - started < 60  # of a busy machine; a loop's own time is test_sandbox's
    pathlib.Path("/tmp/yaie-endless").unlink(missing_ok=True)
    assert judge.check("0.1", file_with(RIGHT), sandbox).passed


def test_syntax_error_shows_the_line(sandbox, exercises):
    outcome = judge.check("0.1", file_with("return (num_tokens"), sandbox)
    assert outcome.status == judge.FAILED
    assert "syntax error in line" in outcome.headline
    assert "`return (num_tokens`" in outcome.headline


def test_renamed_function_is_named(sandbox, exercises):
    text = file_with("return 1").replace("blocks_needed(", "block_needed(")
    outcome = judge.check("0.1", text, sandbox)
    assert outcome.status == judge.FAILED
    assert "has no function `KVCacheManager.blocks_needed`" in outcome.headline
    assert "`block_needed`: was it renamed?" in outcome.headline


def test_changed_parameters_are_named(sandbox, exercises):
    text = file_with("return 1").replace("num_tokens)", "tokens)")
    outcome = judge.check("0.1", text, sandbox)
    assert outcome.status == judge.FAILED
    assert "takes (self, tokens)" in outcome.headline


def test_error_at_import_is_named(sandbox, exercises):
    outcome = judge.check("0.1", file_with("return 1") + "\nimport no_such_module\n", sandbox)
    assert outcome.status == judge.FAILED
    assert "cannot be run: ModuleNotFoundError" in outcome.headline


def test_exception_shows_the_learners_line(sandbox, exercises):
    outcome = judge.check("0.1", file_with("return num_tokens / 0"), sandbox)
    assert "ZeroDivisionError" in outcome.headline
    assert "`return num_tokens / 0`" in dict(outcome.rows)["Where"]


def test_what_it_printed_is_shown(sandbox, exercises):
    """Print debugging must work inside the sandbox."""
    outcome = judge.check("0.1", file_with("print('n is', num_tokens)\n    return 1"), sandbox)
    assert "n is 1" in dict(outcome.rows)["It printed"]


def test_raise_of_the_stub_left_in_place_is_named(sandbox, exercises):
    """Code written above the stub's last line still ends there; "NotImplementedError" alone does not say so."""
    body = "n = num_tokens\n    raise NotImplementedError('exercise 0.1')"
    outcome = judge.check("0.1", file_with(body), sandbox)
    assert outcome.status == judge.FAILED
    assert "reached the `raise NotImplementedError`" in outcome.headline
    assert "Delete that line" in dict(outcome.rows)["Next step"]


def test_forgotten_return_is_said(sandbox, exercises):
    """None where a number belongs is nearly always a return that was forgotten."""
    outcome = judge.check("0.1", file_with("n = -(-num_tokens // self.block_size)"), sandbox)
    assert "has no `return` with a value" in dict(outcome.rows)["Note"]
    assert dict(outcome.rows)["Got"] == "NoneType"


def test_helpers_imports_and_classes_of_ones_own_work(sandbox, exercises):
    """A learner who splits an answer into helpers, in the class or outside it, must not be refused for that.

    A dataclass looks for its module in `sys.modules`.
    """
    text = file_with("return self._up(num_tokens)").replace("from yaie", "import math\nfrom yaie", 1)
    text += "\n    def _up(self, n):\n        return Quotient(n, self.block_size).rounded_up()\n"
    text += "\n\nfrom dataclasses import dataclass\n\n@dataclass\nclass Quotient:\n    a: int\n    b: int\n"
    text += "    def rounded_up(self): return math.ceil(self.a / self.b)\n"
    outcome = judge.check("0.1", text, sandbox)
    assert outcome.passed, str(outcome)


def test_a_wrong_neighbour_is_not_held_against_a_right_function(sandbox, exercises):
    """The learner's other functions are used, too; when one of those is at fault, this one is right on its own."""
    file = find_exercise("1.1").file
    bodies = {
        "1.3": find_exercise("1.3").language.reference(find_exercise("1.3")),
        "1.1": find_exercise("1.1").language.reference(find_exercise("1.1")),
    }
    assert judge.check("1.3", file.language.render(file, bodies), sandbox).passed
    wrong = find_exercise("1.1")
    bodies["1.1"] = wrong.language.changed(wrong, wrong.mistakes[0].old, wrong.mistakes[0].new)
    outcome = judge.check("1.3", file.language.render(file, bodies), sandbox)
    assert outcome.passed
    if outcome.headline == "Right on its own.":
        assert "yaie check 1.1" in dict(outcome.rows)["But"]


def test_a_known_mistake_whose_line_is_gone_is_passed_over(sandbox, exercises, monkeypatch):
    """An engine that has changed since must not show a learner a traceback, nor lose the other mistakes."""
    exercise = find_exercise("0.1")
    gone = replace(exercise.mistakes[0], old="no such line", message="never shown")
    changed = replace(exercise, mistakes=(gone, *exercise.mistakes))
    monkeypatch.setattr(judge, "find_exercise", lambda id: changed)
    body = exercise.language.changed(exercise, exercise.mistakes[0].old, exercise.mistakes[0].new)
    outcome = judge.check("0.1", exercise.language.render(exercise.file, {"0.1": body}), sandbox)
    assert outcome.status == judge.FAILED
    assert dict(outcome.rows)["Likely cause"] == exercise.mistakes[0].message
