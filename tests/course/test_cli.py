"""The `yaie` command: what it prints and its exit status."""

import subprocess
import sys
import time

import pytest

from yaie import cli
from yaie.course import watch
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
    "arguments", [["check", "0.99"], ["check", "77.1"], ["hint", "abc"], ["reset", "77"], ["check", "1"]]
)
def test_unknown_exercise_is_one_line_with_the_known_ones(arguments, exercises, capsys):
    """A traceback for a typing error is unkind; a list of what there is helps."""
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"yaie {arguments[0]}: there is no ")
    assert len(error.splitlines()) == 1
    assert any(known in error for known in ("0.1", "1.1", "0, 1"))


def test_number_instead_of_a_name():
    """The number 1.10 is 1.1: it would check another exercise without a word."""
    from yaie.course import api

    with pytest.raises(TypeError, match="in quotes"):
        api.exercise(1.10)


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

    master, slave = pty.openpty()
    command = [sys.executable, "-m", "yaie.cli", "watch"]
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    try:
        seen = read_until(master, b"Next: ")
        time.sleep(1)
        path = exercises / "00_start_here.py"
        text = path.read_text()
        path.write_text(text.replace("raise NotImplementedError", "return NotImplementedError"))
        seen += read_until(master, "╯".encode())
        process.send_signal(2)
        seen += read_until(master, b"No longer watching.")
        assert process.wait(20) == 0
    finally:
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
