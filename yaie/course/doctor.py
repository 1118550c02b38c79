"""Say what this machine can do for the course, and what to do about each thing it lacks."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

GOOD, LIMITED, BAD = "good", "limited", "bad"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `advice` is empty where nothing needs to be done."""

    name: str
    state: str
    found: str
    advice: str = ""


def diagnose() -> list[Finding]:
    """Look at everything the course needs. "bad" stops you, "limited" does not."""
    looks: list[Callable[[], Finding]] = [_system, _python, _torch, _gpu, _compiler, _nvcc]
    looks += [_jupyter, _memory, _cores, _disk, _exercises, _locks]
    return [look() for look in looks]


def _system() -> Finding:
    name = f"{platform.system()} {platform.machine()}"
    if platform.system() == "Windows":
        return Finding(
            "System", BAD, name, "The checks need fork: work inside WSL2 (wsl --install), then clone there."
        )
    if platform.system() == "Darwin":
        return Finding(
            "System", LIMITED, name, "Not tested on macOS; the memory limit of checks does not work there."
        )
    return Finding("System", GOOD, name)


def _python() -> Finding:
    found = f"{platform.python_version()} at {sys.executable}"
    return Finding("Python", GOOD, found)


def _torch() -> Finding:
    version = _version("torch")
    if version is None:
        return Finding("torch", BAD, "not installed", "Run make lab once; it sets everything up.")
    return Finding("torch", GOOD, version)


def _gpu() -> Finding:
    """Asked in a process of its own: CUDA must not be started in the one that shows notebooks."""
    script = (
        "import torch; print(torch.cuda.get_device_name() + ', compute capability %d.%d' "
        "% torch.cuda.get_device_capability() if torch.cuda.is_available() else '')"
    )
    answer = _output([sys.executable, "-c", script])
    if answer:
        return Finding("GPU", GOOD, answer)
    return Finding(
        "GPU",
        LIMITED,
        "none that torch can use",
        "Nothing to do: every lesson runs on the CPU and says where it differs.",
    )


def _compiler() -> Finding:
    for name in ("g++", "clang++"):
        if shutil.which(name):
            return Finding("C++ compiler", GOOD, (_output([name, "--version"]) or name).splitlines()[0])
    return Finding(
        "C++ compiler", BAD, "none", "sudo apt install g++ (Debian, Ubuntu), sudo dnf install gcc-c++ (Fedora), "
        "xcode-select --install (macOS).",
    )  # fmt: skip


def _nvcc() -> Finding:
    if shutil.which("nvcc"):
        return Finding("nvcc", GOOD, _output(["nvcc", "--version"]).splitlines()[-1])
    return Finding("nvcc", LIMITED, "none", "Only needed with a GPU: install the CUDA toolkit there.")


def _jupyter() -> Finding:
    version = _version("jupyterlab")
    if version is None:
        return Finding("JupyterLab", BAD, "not installed", "pip install -e '.[lab]', or run make lab.")
    return Finding("JupyterLab", GOOD, version)


def _memory() -> Finding:
    free = _free_memory()
    if free is None:
        return Finding("Memory", LIMITED, "cannot be read on this system", "Have 4 GiB free.")
    found = f"{free / 2**30:.1f} GiB free"
    if free < 2 * 2**30:
        return Finding(
            "Memory",
            LIMITED,
            found,
            "Close other programs: lessons want 2 GiB, building C++ up to 2 GiB more.",
        )
    return Finding("Memory", GOOD, found)


def _free_memory() -> int | None:
    try:
        with open("/proc/meminfo") as lines:
            return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))
    except FileNotFoundError:
        return None


def _cores() -> Finding:
    count = os.cpu_count() or 1
    return Finding(
        "Cores", GOOD if count > 1 else LIMITED, str(count), "" if count > 1 else "Two cores are pleasanter."
    )


def _disk() -> Finding:
    free = shutil.disk_usage(Path.home()).free
    found = f"{free / 2**30:.0f} GiB free"
    return Finding("Disk", *((GOOD, found) if free > 2**30 else (LIMITED, found, "Builds need 1 GiB.")))


def _exercises() -> Finding:
    from yaie.course.generate import out_of_date
    from yaie.course.learner import exercises_dir

    stale, edited = out_of_date(exercises_dir())
    found = f"{len(edited)} edited by you" if edited else "as generated"
    if stale:
        names = ", ".join(path.name for path in stale)
        return Finding(
            "Exercise files", LIMITED, f"{names}: older than the engine", "python -m yaie.course.generate"
        )
    return Finding("Exercise files", GOOD, found)


def _locks() -> Finding:
    """A killed build leaves a lock file, on which every later `torch.utils.cpp_extension.load` waits for ever."""
    root = Path(os.environ.get("TORCH_EXTENSIONS_DIR") or Path.home() / ".cache" / "torch_extensions")
    stale = [str(path) for path in root.glob("**/lock")] if root.exists() else []
    if stale:
        return Finding(
            "Build locks",
            LIMITED,
            f"{len(stale)} left behind",
            f"If nothing is building: rm {' '.join(stale)}",
        )
    return Finding("Build locks", GOOD, "none")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""
