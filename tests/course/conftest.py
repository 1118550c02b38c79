"""Fixtures for the course: exercise files in a folder of the test's own, and one warm sandbox per test process."""

import shutil

import pytest

from yaie.course import REPOSITORY, judge
from yaie.course.sandbox import Sandbox
from yaie.course.tools import generate

HOLE = '        raise NotImplementedError("exercise 0.1: write this function")\n'
RIGHT = "return -(-num_tokens // self.block_size)"


@pytest.fixture(scope="session")
def sandbox():
    sandbox = Sandbox()
    yield sandbox
    sandbox.close()


class Limited:
    """A sandbox in which each run has so many seconds: few for what only the clock ends, many for what a busy machine
    may take long for."""

    def __init__(self, sandbox, seconds):
        self.sandbox, self.seconds = sandbox, seconds

    def run(self, job):
        return self.sandbox.run({**job, "time_limit": self.seconds})


@pytest.fixture(scope="session")
def generated(tmp_path_factory):
    """Exercise files as they are generated, to be copied and not to be changed."""
    folder = tmp_path_factory.mktemp("generated")
    generate.write(folder)
    return folder


@pytest.fixture
def exercises(generated, tmp_path, monkeypatch):
    """A folder of untouched exercise files that every part of the course uses during the test."""
    monkeypatch.setenv("YAIE_EXERCISES_DIR", str(tmp_path))
    monkeypatch.delenv("YAIE_EXPECT", raising=False)
    shutil.copytree(generated, tmp_path, dirs_exist_ok=True)
    return tmp_path


def same_folder(name):
    """An empty folder that lies in the same place in each run: a kernel that was compiled from files there is not
    compiled again."""
    folder = REPOSITORY / "build" / "tests" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def solved(request, monkeypatch):
    """A folder of exercise files with the engine's bodies that every part of the course uses during the test."""
    folder = same_folder(request.node.name)
    generate.write(folder, solved=True)
    monkeypatch.setenv("YAIE_EXERCISES_DIR", str(folder))
    return folder


@pytest.fixture
def at_home(monkeypatch):
    """Exercise files are said to lie where they always do: a text that was compiled once is not compiled again."""
    monkeypatch.delenv("YAIE_EXERCISES_DIR", raising=False)


class WarmUp:
    """The file of lesson 00 as a learner would edit it."""

    RIGHT = RIGHT

    def __init__(self, folder):
        self.path = folder / "00_start_here.py"
        self.stub = self.path.read_text(encoding="utf-8")
        assert self.stub.count(HOLE) == 1

    def text(self, body, after=""):
        """The file with `body` instead of the hole and `after` at its end."""
        lines = "".join(f"        {line}\n" for line in body.split("\n"))
        return self.stub.replace(HOLE, lines) + after

    def write(self, body, after=""):
        self.path.write_text(self.text(body, after), encoding="utf-8")


@pytest.fixture
def warm_up(exercises, sandbox, monkeypatch):
    """Exercise 0.1 to be written and checked with the warm sandbox."""
    monkeypatch.setattr(judge, "_sandbox", sandbox)
    return WarmUp(exercises)
