"""The `yaie` command: what it prints and its exit status."""

import itertools
import re
import subprocess
import sys
import threading
import time

import pytest

from yaie import cli
from yaie.course import judge, progress, registry, watch
from yaie.course.show import Panel


def test_check_says_how_it_went_by_its_exit_status(warm_up, capsys):
    """Scripts and graders read the status: 0 passed, 1 failed, 2 not attempted."""
    assert cli.main(["check", "0.1"]) == 2
    warm_up.write("return 1")
    assert cli.main(["check", "0.1"]) == 1
    warm_up.write("return (1")
    assert cli.main(["check", "0.1"]) == 1
    warm_up.write(warm_up.RIGHT)
    assert cli.main(["check", "0.1"]) == 0
    assert "passed" in capsys.readouterr().out


def test_hint_reset_board(warm_up, capsys):
    """The words of the notebook must do the same here."""
    assert cli.main(["hint", "0.1"]) == 0
    assert cli.main(["hint", "0.1", "3"]) == 0
    out = capsys.readouterr().out
    assert "Hint 1 of 3" in out
    assert "Hint 3 of 3" in out
    assert cli.main(["hint", "0.1", "4"]) == 2
    warm_up.write("return 1")
    assert cli.main(["reset", "0.1"]) == 0
    assert warm_up.path.read_text() == warm_up.stub
    warm_up.path.write_text("def (")
    assert cli.main(["reset", "0.1"]) == 1
    assert cli.main(["reset", "00"]) == 0
    assert cli.main(["board"]) == 0
    assert "0 of " in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        [command, id]
        for command in ("check", "hint", "reset")
        for id in ("0.99", "0.0", "77.1", "77", "abc", "", "٢", "²")
    ]
    + [["hint", "1"], ["check", "1.2.3"], ["reset", "-1"]],
)
def test_unknown_exercise_is_one_line_with_the_known_ones(arguments, exercises, capsys):
    """A traceback for a typing error is unkind; a list of what there is helps. One rule for all commands: digits are
    those of ASCII, and a hint is for an exercise."""
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"yaie {arguments[0]}: there is no ")
    assert len(error.splitlines()) == 1
    assert any(known in error for known in ("0.1", "1.1", "0, 1"))


@pytest.mark.parametrize(("typed", "meant"), [("1,2", "1.2"), ("1-2", "1.2"), ("l.2.", "1.2"), ("ex 10.l1", "10.11")])
def test_misspelt_id_is_guessed(typed, meant, exercises, capsys):
    """A learner who mistypes an id should not have to read a list."""
    assert cli.main(["check", typed]) == 2
    assert f"did you mean {meant}?" in capsys.readouterr().err


def test_number_instead_of_a_name():
    """The number 1.10 is 1.1: it would check or reset another exercise without a word."""
    from yaie.course import api

    for call in (api.exercise, api.reset):
        with pytest.raises(TypeError, match="in quotes"):
            call(1.10)


def test_a_lesson_is_checked_by_its_number_as_it_is_reset(warm_up, capsys):
    """What `yaie reset 0` understands, `yaie check 0` must; the worst outcome is the exit status."""
    assert cli.main(["check", "0"]) == 2
    warm_up.write("return 1")
    assert cli.main(["check", "00"]) == 1
    warm_up.write(warm_up.RIGHT)
    assert cli.main(["check", " 0"]) == 0
    assert capsys.readouterr().out.count("0.1 How many blocks?") == 3
    assert cli.main(["check", "1"]) == 2
    out = capsys.readouterr().out
    assert all(exercise.title in out for exercise in registry.find_lesson(1).exercises)


def test_update_says_what_it_did(warm_up, capsys):
    """An update that says nothing, or ends with 0 where a file was left behind, is taken for done."""
    warm_up.path.unlink()
    assert cli.main(["update"]) == 0
    assert "00_start_here.py" in capsys.readouterr().out
    assert warm_up.path.read_text() == warm_up.stub
    assert cli.main(["update"]) == 0
    assert "are up to date" in capsys.readouterr().out


def test_cache_is_shown_and_cleared(tmp_path, capsys, monkeypatch):
    """254 MB that nobody can find or get back."""
    monkeypatch.setenv("YAIE_CACHE_DIR", str(tmp_path / "new" / "cache"))
    assert cli.main(["cache"]) == 0
    assert str(tmp_path / "new" / "cache") in capsys.readouterr().out
    (tmp_path / "new" / "cache" / "a.so").write_bytes(bytes(5_000_000))
    assert cli.main(["cache"]) == 0
    out = capsys.readouterr().out
    assert "5 MB" in out
    assert "At most" in out
    assert cli.main(["cache", "clear"]) == 0
    assert "Freed    5 MB" in capsys.readouterr().out
    assert not (tmp_path / "new" / "cache" / "a.so").exists()


def test_exercise_that_is_newer_than_the_file(warm_up, capsys, monkeypatch):
    """After `yaie dev new`, or a pull, "has no function" would blame the learner for what they cannot have."""
    text = warm_up.stub.replace("Exercise 0.1:", "Exercise 0.9:").replace("def blocks_needed", "def another")
    warm_up.path.write_text(re.sub(r"text hash \w+", f"text hash {'0' * 16}", text))
    for command in (["check", "0.1"], ["board"], ["reset", "0.1"]):
        cli.main(command)
        out = capsys.readouterr().out
        assert "00_start_here.py is older than exercise 0.1" in out
        assert "was it renamed" not in out
    assert "`yaie update`" in str(judge.check("0.1"))


@pytest.mark.parametrize("error", [OSError(30, "Read-only file system", "/x"), registry.FolderError("x is not TOML")])
def test_trouble_with_files_is_one_line(error, exercises, capsys, monkeypatch):
    """Places that cannot be read or written are not worth a traceback."""

    def board():
        raise error

    monkeypatch.setattr(progress, "board", board)
    assert cli.main(["board"]) == 2
    assert capsys.readouterr().err == f"yaie board: {error}\n"


def test_watch_ends_quietly(warm_up, monkeypatch, capsys):
    """Ctrl-C is how a watch ends; it is neither an error nor a traceback."""

    def panels():
        yield Panel("one", "good")
        raise KeyboardInterrupt

    monkeypatch.setattr(watch, "watch", panels)
    assert cli.main(["watch"]) == 0
    out = capsys.readouterr().out
    assert "one" in out
    assert out.count("Next: 0.1") == 2
    assert out.endswith("No longer watching.\n")


def test_piped_output_in_a_narrow_encoding(exercises):
    """A terminal that cannot write a tick must not end the command with an encoding error."""
    script = "import sys; from yaie.cli import main; sys.exit(main(['board']))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        check=False,
        env={"PYTHONIOENCODING": "ascii", "YAIE_EXERCISES_DIR": str(exercises), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    assert b"not attempted" in done.stdout


def test_watch_in_a_real_terminal(exercises):
    """The whole way: a pseudo-terminal, a save, a framed outcome, Ctrl-C."""
    pty = pytest.importorskip("pty")
    import os

    path, watched, numbers = exercises / "00_start_here.py", threading.Event(), itertools.count(1000)
    text, new = path.read_text(), path.with_name("new")

    def save():
        while not watched.wait(1):  # a busy machine may take long until it watches: what came before is no change
            new.write_text(text.replace("raise NotImplementedError", f"return {next(numbers)}"))
            new.replace(path)

    saver = threading.Thread(target=save)
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "yaie.cli", "watch"]
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    try:
        seen = read_until(master, b"Next: ")
        saver.start()
        seen += read_until(master, "╯".encode())
        watched.set()
        process.send_signal(2)
        seen += read_until(master, b"No longer watching.")
        assert process.wait(60) == 0
    finally:
        watched.set()
        process.kill()
        process.wait()
        os.close(master)
    assert "How many blocks?: failed" in seen.decode()
    assert "Traceback" not in seen.decode()


def read_until(fd, mark, seconds=60):
    import os
    import select

    seen, end = b"", time.monotonic() + seconds
    while mark not in seen:
        ready, _, _ = select.select([fd], [], [], max(0, end - time.monotonic()))
        assert ready, f"{mark!r} did not come: {seen.decode()}"
        seen += os.read(fd, 4096)
    return seen
