"""Programs that are looked for: one that is there must be found, or all that needs it is skipped and nobody sees why.

Brothers: nvcc and ncu (one finder), the C++ compiler of the emulator.
"""

import pytest

from yaie.cuda.card import nvcc
from yaie.cuda.compiler import CompileError
from yaie.cuda.emulated import build


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine with nothing on it: a folder on the PATH, and one for CUDA_HOME."""
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda"))
    monkeypatch.delenv("YAIE_CXX", raising=False)
    return tmp_path


def program(folder, name):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("#!/bin/sh\n")
    (folder / name).chmod(0o755)
    return str(folder / name)


@pytest.mark.parametrize("name", ["nvcc", "ncu"])
def test_a_tool_of_cuda_is_found_wherever_it_may_be(machine, monkeypatch, name):
    """Would catch a finder that looks in one place only, or takes an empty variable for the root of the disk."""
    assert nvcc.find_tool(name) is None
    looked_in = []
    which = nvcc.shutil.which
    watched = lambda name, path=None: looked_in.append(path) or which(name, path=path)  # noqa: E731
    monkeypatch.setattr(nvcc.shutil, "which", watched)
    at_home = program(machine / "cuda" / "bin", name)
    assert nvcc.find_tool(name) == at_home
    on_path = program(machine / "path", name)
    assert nvcc.find_tool(name) == on_path  # the one that a shell would start
    (machine / "path" / name).unlink()
    for unset in (lambda: monkeypatch.setenv("CUDA_HOME", ""), lambda: monkeypatch.delenv("CUDA_HOME")):
        unset()
        nvcc.find_tool(name)
        assert looked_in[-1] == "/usr/local/cuda/bin"


def test_nvcc_is_the_one_that_is_found(machine):
    """Would catch tests and benchmarks that are skipped on a card, for want of a compiler that is there."""
    assert nvcc.find_nvcc() is None
    assert nvcc.find_nvcc() == nvcc.find_tool("nvcc")
    there = program(machine / "cuda" / "bin", "nvcc")
    assert nvcc.find_nvcc() == there


def test_the_emulators_compiler_is_found_by_any_of_its_names(machine, monkeypatch):
    """Would catch a machine with clang++-17 alone on which no kernel runs."""
    find = build.find_compiler.__wrapped__
    with pytest.raises(CompileError, match=r"looked for g\+\+, clang\+\+ and clang\+\+-NN"):
        find()
    versioned = program(machine / "path", "clang++-17")
    assert find() == versioned
    plain = program(machine / "path", "clang++")
    assert find() == plain
    gcc = program(machine / "path", "g++")
    assert find() == gcc
    assert find("clang++-17") == versioned
    monkeypatch.setenv("YAIE_CXX", "clang++-17")
    assert find() == versioned
    monkeypatch.setenv("YAIE_CXX", "c++-of-mine")
    with pytest.raises(CompileError, match=r"looked for c\+\+-of-mine"):
        find()
