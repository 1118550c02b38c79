"""What every benchmark shares: the facts beside each number, tables, recorded results.

A number without its machine means nothing, so `environment()` goes above every table and into every recorded file.
Needs nothing but Python's own library (and torch for a card), so that it also runs from a bare copy of the repository.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("yaie", "torch", "numpy")


class Failed(RuntimeError):
    """A run has nothing to report; the message says why."""


def environment(
    name: str, arguments: Sequence[str] = (), *, device: str = "cpu", clock: str = "wall time"
) -> dict[str, Any]:
    """Device, date, versions, command and clock of this run. `device` is "cpu" or "cuda" (then the card is named)."""
    facts = {
        "device": cpu_name(),
        "date": time.strftime("%Y-%m-%d"),
        "versions": {"python": platform.python_version()} | {p: version_of(p) for p in PACKAGES},
        "platform": platform.platform(terse=True),
        "command": " ".join(["python -m yaie.bench", name, *arguments]),
        "times": f"{clock}; medians after a warm-up, the quartiles in brackets",
    }
    if device == "cuda":
        import torch

        facts["device"] = torch.cuda.get_device_name()
        facts["versions"]["cuda"] = torch.version.cuda
    return facts


def version_of(package: str) -> str:
    """The installed version; a copy of the repository that is only on the path has none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed, run from a copy"


def cpu_name() -> str:
    """The processor's own name where the system tells it, else the architecture."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def print_header(facts: dict[str, Any]) -> None:
    """The facts of `environment()`, one line each."""
    for key, value in facts.items():
        text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        print(f"{key + ':':10} {text}")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table with its first column to the left and all others to the right."""
    cells = [[str(cell) for cell in row] for row in (columns, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    cells.insert(1, ["-" * width for width in widths])
    print(f"\n{title}")
    for row in cells:
        padded = [f"{cell:{'>' if i else '<'}{widths[i]}}" for i, cell in enumerate(row)]
        print("  " + "  ".join(padded).rstrip())
    print()


def results_path(name: str, facts: dict[str, Any], folder: Path = RESULTS) -> Path:
    """The file of a benchmark on the device of `facts`."""
    slug = re.sub(r"[^a-z0-9]+", "-", facts["device"].lower()).strip("-")
    return folder / f"{name}-{slug}.json"


def save_results(name: str, facts: dict[str, Any], results: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Record a run as JSON, one file per benchmark and device; a later run on the same device replaces it.

    `results` may hold `Timing`s, which become {median, q1, q3, repeats} in seconds.
    """
    path = results_path(name, facts, folder)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**facts, "results": results}, indent=1, default=asdict) + "\n")
    return path
