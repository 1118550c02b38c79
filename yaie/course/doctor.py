"""Say what this machine can do for the course, and what to do about each thing it lacks.

Every look stands by itself: where one cannot be made, that is its finding. All but the last are quick; the last is
the proof: two checks.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from yaie.course import REPOSITORY
from yaie.course.show import Row, Table

GOOD, LIMITED, BAD = "good", "warn", "bad"  # the tones of a table; "bad" stops you, "warn" does not
GIB = 1 << 30
PATIENCE = 5.0  # seconds for a program to say its version


def examine() -> Table:
    """What this machine can do for the course, and what to do about each lack."""
    rows = [_look(name) for name in LOOKS]
    stopped = ", ".join(name for tone, (name, *_) in rows if tone == BAD)
    footer = f"To be fixed first: {stopped}." if stopped else "You can start."
    return Table("This machine", ("What", "Found", "What to do"), rows, footer)


def _look(name: str) -> Row:
    try:
        tone, found, *advice = LOOKS[name]()  # no advice where nothing needs to be done
    except Exception as error:  # a machine can lack things that nobody thought of
        tone, found, *advice = LIMITED, f"could not be found out: {type(error).__name__}: {error}"
    return tone, (name, found, *(advice or [""]))


def _system() -> tuple[str, ...]:
    name = f"{platform.system()} {platform.machine()}"
    if platform.system() == "Windows":
        return BAD, name, "Checks need fork: run `wsl --install` and clone the repository inside WSL2."
    if platform.system() == "Darwin":
        return LIMITED, name, "Not tested on macOS; the memory limit of checks does not work there."
    return GOOD, name


def _python() -> tuple[str, ...]:
    executable = Path(sys.executable)
    shown = executable.relative_to(REPOSITORY) if executable.is_relative_to(REPOSITORY) else executable
    found = f"{platform.python_version()} at {shown}"
    own = REPOSITORY / ".venv"
    if own.exists() and Path(sys.prefix).resolve() != own.resolve():
        return LIMITED, f"{found}, not the one in .venv", f"source {shlex.quote(str(own / 'bin' / 'activate'))}"
    return GOOD, found


def _torch() -> tuple[str, ...]:
    version = _version("torch")
    if version is None:
        return BAD, "not installed", "make lab"
    cuda = _torch_cuda()
    return GOOD, f"{version}, {f'built for CUDA {cuda}' if cuda else 'built for the CPU'}"


def _gpu() -> tuple[str, ...]:
    nothing = "Nothing to do: every lesson runs on the CPU and says where it differs."
    if shutil.which("nvidia-smi") is None:
        return LIMITED, "none", nothing
    driver = re.search(r"CUDA (?:UMD )?Version: (\d+)", _output(["nvidia-smi"]))
    if driver is None:
        return LIMITED, "the driver does not answer", "nvidia-smi"
    found = _output(["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"])
    names, cuda = "; ".join(found.splitlines()), _torch_cuda()
    if not names:
        return LIMITED, "a driver, but no GPU", nothing
    if cuda is None:
        return LIMITED, f"{names}; but torch is built for the CPU", "pip install --force-reinstall torch"
    if int(cuda.partition(".")[0]) > int(driver[1]):
        return LIMITED, f"{names}; its driver knows CUDA {driver[1]}, torch needs {cuda}", "Update the NVIDIA driver."
    return GOOD, names


def _compiler() -> tuple[str, ...]:
    from yaie.cuda import CompileError, find_compiler

    try:
        compiler = find_compiler()
    except CompileError as error:
        return BAD, "none", "xcode-select --install" if platform.system() == "Darwin" else str(error)
    return GOOD, f"{_output([compiler, '--version']).partition(chr(10))[0]} at {compiler}"


def _nvcc() -> tuple[str, ...]:
    from yaie.cuda import find_nvcc

    nvcc = find_nvcc()
    if nvcc is None:
        return LIMITED, "none", "Nothing to do without a GPU; with one, install the CUDA toolkit."
    version = re.search(r"release ([\d.]+)", _output([nvcc, "--version"]))
    return GOOD, f"CUDA {version[1]} at {nvcc}" if version else nvcc


def _jupyter() -> tuple[str, ...]:
    version = _version("jupyterlab")
    return (GOOD, version) if version else (BAD, "not installed", "pip install -e '.[lab]'")


def _kernel() -> tuple[str, ...]:
    """The kernel `python3` must be there and start this Python: notebooks name it."""
    install = f"{shlex.quote(sys.executable)} -m ipykernel install --sys-prefix"
    if _version("ipykernel") is None:
        return BAD, "ipykernel is not installed", "pip install -e '.[lab]'"
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        starts = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except NoSuchKernel:
        return BAD, "there is no kernel python3", install
    if starts not in ("python", "python3") and Path(starts).absolute().parent != Path(sys.executable).parent:
        return LIMITED, f"python3 starts {starts}, not this Python", install
    return GOOD, "python3"


def _memory() -> tuple[str, ...]:
    free = _free_memory()
    if free is None:
        return LIMITED, "cannot be read on this system", "Have 4 GiB free."
    found, wanted = f"{free / GIB:.1f} GiB free", "Close other programs: lessons and builds of C++ want 2 GiB each."
    return (GOOD, found) if free >= 2 * GIB else (LIMITED, found, wanted)


def _free_memory() -> int | None:
    """Bytes that this process may still take: what the machine has free, or less where its container allows less."""
    free = []
    with suppress(OSError):
        found = re.search(r"MemAvailable: *(\d+) kB", Path("/proc/meminfo").read_text())
        free += [int(found[1]) << 10] if found else []
    with suppress(OSError, ValueError):  # no container, or no limit ("max")
        group = Path("/sys/fs/cgroup")
        free += [int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())]
    return min(free, default=None)


def _disk() -> tuple[str, ...]:
    free = shutil.disk_usage(REPOSITORY).free
    found = f"{free / GIB:.0f} GiB free"
    return (GOOD, found) if free > GIB else (LIMITED, found, "Free 1 GiB: builds need it.")


def _exercises() -> tuple[str, ...]:
    if _version("torch") is None:
        return LIMITED, "not compared: the engine needs torch"
    from yaie.course.files import exercise_path, exercises_dir, was_edited
    from yaie.course.registry import exercise_files
    from yaie.course.tools.generate import out_of_date

    if exercises_dir().exists() and not os.access(exercises_dir(), os.W_OK):
        return LIMITED, f"{exercises_dir()} cannot be written", "Copy the repository into a folder that is yours."
    if stale := ", ".join(path.name for path in out_of_date(exercises_dir())):
        return LIMITED, f"{stale}: older than the engine", "`yaie update`"
    texts = (path.read_text(encoding="utf-8") for file in exercise_files() if (path := exercise_path(file)).exists())
    edited = sum(map(was_edited, texts))
    return GOOD, f"{edited} edited by you" if edited else "as generated"


def _variables() -> tuple[str, ...]:
    """Variables that a test run has left behind hide the learner's files and results; the others are choices."""
    ours = {name: value for name, value in sorted(os.environ.items()) if name.startswith("YAIE_")}
    found = ", ".join(f"{name}={value}" for name, value in ours.items()) or "no YAIE_* variable is set"
    wrong = ["YAIE_EXERCISES_DIR"] * (not Path(ours.get("YAIE_EXERCISES_DIR") or ".").is_dir())
    wrong += ["YAIE_EXPECT"] * ("YAIE_EXPECT" in ours)
    return (LIMITED, found, f"unset {' '.join(wrong)}") if wrong else (GOOD, found)


def _home() -> tuple[str, ...]:
    home = os.path.expanduser("~")
    if os.path.isdir(home) and os.access(home, os.W_OK):
        return GOOD, home
    return LIMITED, f"{home} is no folder that can be written", "Set HOME to one, or YAIE_CACHE_DIR for what is built."


def _sources() -> tuple[str, ...]:
    found = f"{REPOSITORY} has no csrc/: YAIE was installed without its repository"
    wanted = "Clone the repository, then run `make lab` in it."
    return (GOOD, f"{REPOSITORY}/csrc") if (REPOSITORY / "csrc").is_dir() else (BAD, found, wanted)


def _cache() -> tuple[str, ...]:
    from yaie.cuda import cache

    folder, (files, size) = cache.folder(), cache.usage()
    found = f"{files} files, {size / GIB:.1f} of {cache.size_limit() / GIB:.1f} GiB, in {folder}"
    if folder.parent == Path(tempfile.gettempdir()):
        return LIMITED, found, "Set YAIE_CACHE_DIR to a folder that a restart leaves alone."
    return GOOD, found


def _checks() -> tuple[str, ...]:
    """An exercise of each language, answered with the engine's own function."""
    for id in ("0.1", "8.1"):
        try:
            from yaie.course import judge, registry

            exercise = registry.find_exercise(id)
            outcome = judge.check(id, exercise.language.solved(exercise.file))
        except Exception as error:  # whatever it is, nobody can start
            return BAD, f"{id} cannot be checked: {error}", "See what is said above; then run `yaie doctor` again."
        if not outcome.passed:
            return BAD, f"{id}, {outcome.headline}", "Run `git status`: is the engine as it was?"
    return GOOD, "an exercise in Python and one in CUDA can be checked"


LOOKS: dict[str, Callable[[], tuple[str, ...]]] = {
    "System": _system,
    "Python": _python,
    "torch": _torch,
    "GPU": _gpu,
    "C++ compiler": _compiler,
    "nvcc": _nvcc,
    "JupyterLab": _jupyter,
    "Jupyter kernel": _kernel,
    "Memory": _memory,
    "Disk": _disk,
    "Home folder": _home,
    "Sources": _sources,
    "Exercise files": _exercises,
    "Build cache": _cache,
    "Environment": _variables,
    "Checks": _checks,
}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _torch_cuda() -> str | None:
    """The CUDA version that torch was built for; None for a build without CUDA."""
    import torch

    return torch.version.cuda


def _output(command: list[str]) -> str:
    """What a program prints; empty where it is missing, fails or takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
