"""Fixtures for the course: exercise files in a folder of the test's own, and one warm sandbox per test process."""

import pytest

from yaie.course import generate
from yaie.course.sandbox import Sandbox


@pytest.fixture(scope="session")
def sandbox():
    sandbox = Sandbox()
    yield sandbox
    sandbox.close()


@pytest.fixture
def exercises(tmp_path, monkeypatch):
    """A folder of freshly generated exercise files that every part of the course uses during the test."""
    monkeypatch.setenv("YAIE_EXERCISES_DIR", str(tmp_path))
    generate.write(tmp_path)
    return tmp_path
