"""The repository itself: what lies at its top, what its set-up files promise, what the README says."""

import ast
import contextlib
import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import torch
import yaml

from yaie.course import REPOSITORY
from yaie.course.registry import lessons

ALLOWED = {
    "notebooks", "yaie", "csrc", "solutions", "tests", "environment.yml", "README.md", "pyproject.toml",
    "Makefile", "constraints-ci.txt", "LICENSE", "CONTRIBUTING.md", "TEACHING.md", ".ci", ".github", ".gitignore",
}  # fmt: skip
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def tracked():
    listed = subprocess.run(["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return listed.stdout.split()


def test_nothing_else_lies_at_the_top():
    """A newcomer should see ten names, not thirty."""
    assert {name.partition("/")[0] for name in tracked()} <= ALLOWED


def test_weights_are_safetensors_only():
    """A pickle runs code when it is loaded."""
    suffixes = {name.rpartition(".")[2] for name in tracked()}
    assert not suffixes & {"bin", "pt", "pth", "pkl", "pickle", "ckpt", "npy", "npz"}


def test_conda_environment_installs_the_same():
    """A conda user must get the same packages: the pip section names this project with the learners' extra."""
    environment = yaml.safe_load((REPOSITORY / "environment.yml").read_text())
    pip_section = next(part["pip"] for part in environment["dependencies"] if isinstance(part, dict))
    assert pip_section == ["--editable .[lab]"]
    python = next(part for part in environment["dependencies"] if str(part).startswith("python"))
    assert PROJECT["requires-python"] in python


def test_constraints_lie_within_the_ranges():
    """CI must not test a version that nobody who installs the project can get."""
    from packaging.requirements import Requirement

    needed = [
        *PROJECT["dependencies"],
        *(line for extra in PROJECT["optional-dependencies"].values() for line in extra),
    ]
    ranges = {Requirement(line).name.lower(): Requirement(line).specifier for line in needed}
    for line in (REPOSITORY / "constraints-ci.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            pinned = Requirement(line)
            version = next(iter(pinned.specifier)).version
            assert ranges[pinned.name.lower()].contains(version), line


def test_every_requirement_is_bounded():
    """An unbounded requirement lets a release of tomorrow break the course."""
    for extra in [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]:
        for line in extra:
            assert re.search(r"<|==|^yaie\[|^setuptools", line), line


def test_what_is_installed_lies_within_the_ranges():
    """Would catch tests of versions that nobody who installs the project can get, as huggingface_hub 2 once was."""
    from packaging.requirements import Requirement

    for extra in [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]:
        for needed in map(Requirement, extra):
            with contextlib.suppress(metadata.PackageNotFoundError):
                version = metadata.version(needed.name)
                assert needed.specifier.contains(version, prereleases=True), f"{needed}, and {version} is installed"


def test_readme_lists_every_lesson():
    """A lesson that the map leaves out is not found; one that it invents is a broken promise."""
    readme = (REPOSITORY / "README.md").read_text()
    linked = re.findall(r"\]\(notebooks/(\S+?)\.ipynb\)", readme)
    assert list(dict.fromkeys(linked)) == [lesson.name for lesson in lessons()]
    for target in re.findall(r"\]\(([^)\s]+)\)", readme):
        assert target.startswith("http") or (REPOSITORY / target).exists(), target
    for lesson in lessons():
        assert f"| {lesson.minutes} |" in next(line for line in readme.splitlines() if lesson.name in line)


def test_workflow_runs_what_ci_runs():
    """Two CI recipes drift apart."""
    workflow = yaml.safe_load((REPOSITORY / ".github/workflows/ci.yml").read_text())
    steps = workflow["jobs"]["test"]["steps"]
    assert any(step.get("run") == "bash .ci/run" for step in steps)
    assert "make test" in (REPOSITORY / ".ci/run").read_text()


def test_jupyterlab_is_told_what_it_would_ask(tmp_path):
    """A question about news over the first notebook, or a setting that JupyterLab has renamed and no longer reads."""
    done = subprocess.run(
        ["make", "--no-print-directory", "-n", "lab", f"VENV={tmp_path}"],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert f"cp yaie/course/jupyterlab.json {tmp_path}/share/jupyter/lab/settings/overrides.d/yaie.json" in done.stdout
    for plugin, settings in json.loads((REPOSITORY / "yaie/course/jupyterlab.json").read_text()).items():
        package, _, name = plugin.partition(":")
        lab = Path(sys.prefix) / "share/jupyter"  # an extension brings the schemas of its own plugins
        schemas = [lab / "lab/schemas", lab / "labextensions" / package / "schemas"]
        schema = json.loads(
            next(file for path in schemas if (file := path / package / f"{name}.json").exists()).read_text()
        )
        for key, value in settings.items():
            known = schema["properties"][key]
            types = {"string": str, "boolean": bool, "object": dict}
            assert isinstance(value, types[known["type"]]), (plugin, key)
            assert value in [each["const"] for each in known.get("oneOf", [{"const": value}])], (plugin, key)
            assert value != known["default"], "says nothing that JupyterLab would not do anyway"


def test_missing_tools_are_named(tmp_path):
    """Without a compiler the set-up must stop at once with the line that installs one."""
    for tool in ("sh", "bash", "make", "dirname", "echo"):
        path = subprocess.run(["which", tool], capture_output=True, text=True, check=False).stdout.strip()
        if path:
            (tmp_path / tool).symlink_to(path)
    done = subprocess.run(
        ["make", "--no-print-directory", "check-tools", f"PYTHON={sys.executable}"],
        cwd=REPOSITORY, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "apt install g++" in done.stdout
    missing = subprocess.run(
        ["make", "--no-print-directory", "check-tools", "PYTHON=no-such-python"],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert missing.returncode != 0
    assert "Python 3.11 or newer is needed" in missing.stdout


TESTS = sorted((REPOSITORY / "tests").rglob("test_*.py"))


def can_fail(function, helpers):
    """Whether the function asserts anything that is not constant, itself or in a helper of its file that it calls."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assert) and not isinstance(node.test, ast.Constant):
            return True
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            if name == "raises" or name.startswith("assert_"):
                return True
            others = {key: helper for key, helper in helpers.items() if key != name}
            if name in helpers and can_fail(helpers[name], others):
                return True
    return False


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_every_test_can_fail(path):
    """A test that only calls, or asserts what is always true, is counted as one that proves something."""
    functions = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)]
    helpers = {function.name: function for function in functions if not function.name.startswith("test_")}
    tests = [function for function in functions if function.name.startswith("test_")]
    assert tests
    assert [test.name for test in tests if not can_fail(test, helpers)] == []


def test_draws_can_be_had_again():
    """A test that fails with random numbers which nobody can draw again is not understood."""
    assert torch.initial_seed() == int(os.environ["YAIE_TEST_SEED"])
    for path in (REPOSITORY / "tests").rglob("*.py"):
        assert not re.search(r"torch\.seed\(\)", path.read_text()), path


def test_nothing_that_must_be_there_is_skipped_over():
    """A package that the tests require and cannot import is a failure: skipped, the suite stays green with half of it
    not run. Brothers: transformers, matplotlib, ipywidgets, jupyter_client, huggingface_hub, torch. Only what an
    operating system may lack (`pty`), a card, nvcc, a browser or a cross compiler may be missing.
    """
    skipped = [
        f"{path.name}: {name}"
        for path in TESTS
        for name in re.findall(r"importorskip\(\s*[\"']([\w.]+)", path.read_text())
        if name not in sys.stdlib_module_names
    ]
    assert skipped == []
