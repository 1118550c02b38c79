"""Builds by torch.utils.cpp_extension in a directory of ours: found again, and never waiting for the dead."""

import ctypes
import os
import subprocess
import sys

import pytest
from torch.utils.cpp_extension import load_inline

from yaie.cuda import extension_directory

SOURCE = 'extern "C" int answer() { return 42; }'


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("YAIE_CACHE_DIR", str(tmp_path))


def build(name):
    path = load_inline(
        name,
        [SOURCE],
        build_directory=str(extension_directory(SOURCE, name)),
        is_python_module=False,
        no_implicit_headers=True,
    )
    return ctypes.CDLL(path).answer()


def test_lock_of_a_killed_process_is_removed_and_said(capsys):
    """Would catch: a notebook that waits for ever, because its last kernel was killed in the middle of a build."""
    directory = extension_directory(SOURCE, "killed")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (directory / "lock").touch()
    (directory / "builder").write_text(str(ended.pid))
    assert build("killed") == 42
    assert "removed the lock" in capsys.readouterr().err


def test_lock_of_a_living_process_is_left(capsys):
    """Would catch: two notebooks that build the same at a time and write into one another's files."""
    directory = extension_directory(SOURCE, "other")
    (directory / "lock").touch()
    (directory / "builder").write_text(str(os.getppid()))
    assert extension_directory(SOURCE, "other") == directory
    assert (directory / "lock").exists()
    assert capsys.readouterr().err == ""


def test_other_source_has_another_directory():
    """Would catch: an edited source that is answered with the old build."""
    assert extension_directory(SOURCE) != extension_directory(SOURCE + " ")
