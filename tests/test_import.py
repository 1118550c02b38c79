"""Importing: `import yaie` is light and silent, needs no compiler and no GPU, and imports point one way."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import yaie

PACKAGE = Path(yaie.__file__).parent
# A room may import itself and the rooms after it, never one before it.
ORDER = [{"course", "bench"}, *({room} for room in ("server", "engine", "models", "parallel", "kernels", "cuda"))]
ORDER.append({"profiling", "plots"})
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}


def run(script, **environment):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/nowhere", "HOME": os.environ.get("HOME", "/"), **environment},
    )


def test_import_is_silent_and_does_not_import_torch():
    """torch takes seconds; a notebook's first cell and `yaie --help` should not wait for it."""
    heavy = ["torch", "numpy", "transformers", "matplotlib", "IPython", "rich"]
    done = run(f"import sys, yaie; dir(yaie); print([name for name in {heavy} if name in sys.modules])")
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


def test_every_name_it_offers_exists():
    """The names are looked up when they are used, so a wrong one would only show at the learner's desk."""
    for name in yaie.__all__:
        assert callable(getattr(yaie, name))
        assert name in dir(yaie)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        yaie.nothing  # noqa: B018


def test_whole_package_can_be_imported_without_compiler_or_gpu():
    """A module that compiles, or asks for CUDA, when it is imported fails on half of the learners' machines."""
    script = (
        "import pkgutil, importlib, yaie\n"
        "def broken(name): raise\n"
        "for module in pkgutil.walk_packages(yaie.__path__, 'yaie.', broken):\n"
        "    if not module.name.endswith('__main__'):\n"
        "        importlib.import_module(module.name)\n"
        "import torch; assert not torch.cuda.is_initialized()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/nowhere", "HOME": os.environ.get("HOME", "/"), "CUDA_VISIBLE_DEVICES": ""},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def imported_rooms(path):
    """(line, room) of every import of `yaie.room` in a file, those inside functions included."""
    package = ["yaie", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{start}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "yaie" and len(parts) > 1:
                yield node.lineno, parts[1]


ENGINE_HALF = ("engine", "models", "parallel", "kernels", "cuda", "profiling")


def test_imports_point_one_way():
    """A kernel that imports the engine, or an engine that imports figures, cannot be read or tested by itself."""
    wrong, seen = [], 0
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0]
        if room not in RANK:
            continue  # the command line and the package itself
        for line, other in imported_rooms(path):
            seen += 1
            upwards = other in RANK and RANK[other] < RANK[room]
            sideways = {room, other} == {"course", "bench"}
            drawn = other == "plots" and room != "plots"  # figures are for notebooks
            if upwards or sideways or drawn:
                wrong.append(f"{path.relative_to(PACKAGE)}:{line} imports yaie.{other}")
    assert seen > 10
    assert wrong == []


def test_the_engine_does_not_know_that_it_is_taught():
    """An engine that names the course, in code, in a string or in a comment, is bent to it sooner or later."""
    course = re.compile(
        r"\b(exercis\w*|lessons?|learners?|students?|notebooks?)\b|yaie\.course|import\b.*\bbench", re.IGNORECASE
    )
    kinds = (".py", ".cu", ".cuh", ".h", ".cpp", ".md")
    rooms = [PACKAGE / room for room in ENGINE_HALF] + [PACKAGE.parent / "csrc"]
    files = [path for room in rooms for path in room.rglob("*") if path.suffix in kinds and "tiny" not in path.parts]
    assert len(files) > 80
    assert [
        f"{path.relative_to(PACKAGE.parent)}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if course.search(line)
    ] == []
