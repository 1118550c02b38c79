"""`yaie doctor`: one finding for each thing, one command for each lack, and no crash on any lack."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

import yaie.cuda.cache
from yaie.course import api, doctor, judge
from yaie.course.doctor import BAD, GOOD, LIMITED
from yaie.course.language.cuda import engine_text


class Finding(NamedTuple):
    state: str
    found: str
    advice: str


def finding(name):
    state, (_, *cells) = doctor._look(name)
    return Finding(state, *cells)


def findings(table):
    return {name: Finding(state, *cells) for state, (name, *cells) in table.rows}


def test_who_can_run_the_tests_can_start(exercises):
    """A doctor that finds fault where all is well is not believed, and one that hangs is not asked again."""
    started = time.monotonic()
    table = doctor.examine()
    assert time.monotonic() - started < 60  # on a loaded machine; the last look checks two exercises
    assert table.footer == "You can start."
    assert findings(table)["Checks"].state == GOOD


def test_every_lack_has_advice(exercises, monkeypatch, tmp_path):
    """With nothing in PATH and no /proc, each lack must be named with what to do; nothing may crash."""
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.setattr(doctor, "_version", lambda package: None)
    monkeypatch.setattr(doctor, "_output", lambda command: "")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr("yaie.cuda.find_compiler", yaie.cuda.find_compiler.__wrapped__)
    monkeypatch.setattr(doctor.Path, "read_text", missing)
    table = doctor.examine()
    found = findings(table)
    assert found["C++ compiler"].state == BAD
    assert "apt install g++" in found["C++ compiler"].advice
    assert found["torch"] == (BAD, "not installed", "make lab")
    assert found["JupyterLab"].state == found["Jupyter kernel"].state == BAD
    assert found["nvcc"].state == found["GPU"].state == found["Memory"].state == LIMITED
    assert all(each.advice for each in found.values() if each.state == BAD)
    assert "To be fixed first: torch" in table.footer


def missing(*_, **__):
    raise FileNotFoundError(2, "No such file or directory")


def test_a_look_that_breaks_is_a_finding(monkeypatch):
    """One surprise must not hide the other findings."""
    monkeypatch.setattr(doctor, "LOOKS", {"Disk": missing, "Sources": doctor._sources})
    found = findings(doctor.examine())
    assert (found["Disk"].state, "FileNotFoundError" in found["Disk"].found) == (LIMITED, True)
    assert found["Sources"].state == GOOD


def test_program_that_hangs_or_is_missing(monkeypatch):
    """nvidia-smi and compilers behind a network share can hang; the doctor must not."""
    monkeypatch.setattr(doctor, "PATIENCE", 0.2)
    started = time.monotonic()
    assert doctor._output(["sleep", "600"]) == ""
    assert time.monotonic() - started < 60
    assert doctor._output(["no-such-program"]) == ""
    assert doctor._output(["false"]) == ""


@pytest.mark.parametrize(("free", "state"), [(1 << 30, LIMITED), (8 << 30, GOOD), (None, LIMITED)])
def test_memory(free, state, monkeypatch):
    """A C++ build that is killed for memory gives a message that nobody connects with memory."""
    monkeypatch.setattr(doctor, "_free_memory", lambda: free)
    assert finding("Memory").state == state


def test_another_python_than_the_repositorys(monkeypatch, tmp_path):
    """`yaie` from another environment finds another torch; the learner should hear it first."""
    (tmp_path / ".venv").mkdir()
    monkeypatch.setattr(doctor, "REPOSITORY", tmp_path)
    found = finding("Python")
    assert found.state == LIMITED
    assert found.advice == f"source {tmp_path}/.venv/bin/activate"
    monkeypatch.setattr(doctor, "REPOSITORY", Path("/nowhere"))
    assert finding("Python").state == GOOD


def test_kernel(monkeypatch, tmp_path):
    """Notebooks ask for the kernel python3; one that is missing or starts another Python is a puzzle in the browser."""
    from jupyter_client import kernelspec as manager

    class Missing:
        def get_kernel_spec(self, name):
            raise manager.NoSuchKernel(name)

    class Other:
        argv = ["/usr/other/python3"]

        def get_kernel_spec(self, name):
            return self

    monkeypatch.setattr(manager, "KernelSpecManager", Missing)
    assert finding("Jupyter kernel").state == BAD
    assert finding("Jupyter kernel").advice.startswith(sys.executable)
    monkeypatch.setattr(manager, "KernelSpecManager", Other)
    assert finding("Jupyter kernel").state == LIMITED


def test_variables_that_change_the_course_are_named(monkeypatch, tmp_path):
    """A YAIE_EXERCISES_DIR left over from a test run hides the learner's own files; the others are choices."""
    for name in [name for name in os.environ if name.startswith("YAIE_")]:
        monkeypatch.delenv(name)
    assert finding("Environment").state == GOOD
    monkeypatch.setenv("YAIE_EXERCISES_DIR", "/elsewhere")
    assert finding("Environment").advice == "unset YAIE_EXERCISES_DIR"
    monkeypatch.setenv("YAIE_EXERCISES_DIR", str(tmp_path))
    for name in ("YAIE_CACHE_DIR", "YAIE_CXX", "YAIE_TEST_SEED", "YAIE_CACHE_BYTES"):
        monkeypatch.setenv(name, "1")
    found = finding("Environment")
    assert (found.state, found.advice) == (GOOD, "")
    assert "YAIE_CXX=1" in found.found
    monkeypatch.setenv("YAIE_EXPECT", "passed")
    assert finding("Environment").advice == "unset YAIE_EXPECT"


def no_check(id, text):
    raise judge.SandboxError("no place for temporary files")


BROKEN = {
    "no check": lambda patch, folder: patch.setattr(judge, "check", no_check),
    "no csrc": lambda patch, folder: patch.setattr("yaie.course.language.cuda.REPOSITORY", folder),
    "no place to build": lambda patch, folder: patch.setattr("yaie.cuda.cache._problem_with", lambda *_, **__: "full"),
    "the engine is another": lambda patch, folder: patch.setattr(
        judge, "check", lambda id, text: judge.Outcome(None, judge.FAILED, "It is wrong.")
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_nobody_is_told_to_start_where_a_check_cannot_run(name, monkeypatch, exercises, tmp_path):
    """Looks at single things cannot know of all; so two checks are made.

    Brothers: no torch, no compiler, no csrc, no cache, no temporary files, no server, an engine that was changed.
    """
    monkeypatch.setattr("yaie.course.language.cuda.engine_text", engine_text.__wrapped__)
    monkeypatch.setattr("yaie.cuda.cache._usable", yaie.cuda.cache._usable.__wrapped__)
    (tmp_path / "empty").mkdir()
    BROKEN[name](monkeypatch, tmp_path / "empty")
    table = doctor.examine()
    found = findings(table)["Checks"]
    assert found.state == BAD
    assert found.advice
    assert table.footer.startswith("To be fixed first: ")
    assert table.footer.endswith("Checks.")


def test_places_are_looked_at(monkeypatch, tmp_path):
    """A home that is missing or an installation without sources must be said, with what to do."""
    monkeypatch.setenv("HOME", str(tmp_path / "none"))
    assert finding("Home folder").state == LIMITED
    assert "YAIE_CACHE_DIR" in finding("Home folder").advice
    monkeypatch.setattr(doctor, "REPOSITORY", tmp_path)
    assert finding("Sources").state == BAD
    assert "make lab" in finding("Sources").advice


def test_doctor_needs_nothing_that_it_looks_for():
    """Without torch the command must say so and not end in a traceback."""
    code = (
        "import sys; sys.modules['torch'] = None; from yaie import cli; from yaie.course import doctor;"
        "doctor._version = lambda package: None; sys.exit(cli.main(['doctor']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    assert "To be fixed first: torch" in done.stdout


@pytest.mark.parametrize(
    ("driver", "names", "torch_cuda", "text"),
    [
        (None, "", "13.0", "none"),
        ("", "", "13.0", "the driver does not answer"),
        ("CUDA Version: 13.0", "H100, 9.0", "13.0", "H100, 9.0"),
        ("CUDA Version: 13.0", "H100, 9.0", None, "torch is built for the CPU"),
        ("CUDA Version: 12.8", "H100, 9.0", "13.0", "its driver knows CUDA 12, torch needs 13.0"),
        ("CUDA Version: 13.0", "", "13.0", "a driver, but no GPU"),
    ],
)
def test_gpu(driver, names, torch_cuda, text, monkeypatch):
    """ "No GPU" is not enough: a CPU build of torch and an old driver are fixed in different ways."""
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None if driver is None else f"/usr/bin/{name}")
    monkeypatch.setattr(doctor, "_output", lambda command: driver if command == ["nvidia-smi"] else names)
    monkeypatch.setattr(doctor, "_torch_cuda", lambda: torch_cuda)
    found = finding("GPU")
    assert text in found.found
    assert (found.state == GOOD) == (text.startswith("H100"))


def test_stale_exercise_files_name_the_command(exercises):
    """A missing file must be named with the command that brings it back, for the folder that is in use."""
    assert finding("Exercise files").state == GOOD
    (exercises / "00_start_here.py").unlink()
    found = finding("Exercise files")
    assert "00_start_here.py" in found.found
    assert found.advice == "`yaie update`"
    api.update()
    assert finding("Exercise files").state == GOOD
