"""What every benchmark shares: timing with warm-up and spread, the facts beside each number, tables, recorded results.

A number without its machine means nothing, so `environment()` goes above every table and into every recorded file.
Needs nothing but Python's own library (and torch for a card), so that it also runs from a bare copy of the repository.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.metadata
import json
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("yaie", "torch", "numpy")


@dataclass(frozen=True)
class Timing:
    """Seconds for one item: the median over `repeats` runs and the quartiles around it."""

    median: float
    q1: float
    q3: float
    repeats: int

    def __str__(self) -> str:
        scale, unit = unit_for(self.median)
        return f"{self.median * scale:.3g} {unit} ({self.q1 * scale:.3g}-{self.q3 * scale:.3g})"

    def __float__(self) -> float:
        return self.median


def timing_of(seconds: Sequence[float]) -> Timing:
    """Median and quartiles of at least two measured times."""
    q1, median, q3 = statistics.quantiles(seconds, n=4, method="inclusive")
    return Timing(median, q1, q3, len(seconds))


def unit_for(seconds: float) -> tuple[float, str]:
    """The factor and the name of the unit in which a time reads best."""
    for scale, unit in ((1.0, "s"), (1e3, "ms"), (1e6, "us")):
        if seconds * scale >= 1:
            return scale, unit
    return 1e9, "ns"


def measure(
    run: Callable[..., Any],
    *,
    setup: Callable[[], Any] | None = None,
    items: int = 1,
    repeats: int = 7,
    warmup: int = 1,
    synchronize: Callable[[], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
    """Time `run()` so often that one slow run does not matter.

    First `warmup` runs that do not count (the first run compiles, allocates and fills caches), then `repeats` that do.
    Each counted run is timed alone, with `clock()` before and after; `timing_of` makes a `Timing` of all the times. A
    `with` block of `garbage_waits()` keeps Python's garbage collector out of what stands in it.

    Args:
        run: what is timed.
        setup: called before every run, off the clock; `run` gets what it returns. Without it `run` gets nothing.
        items: how many equal things one run does; the times are per item.
        repeats: at least 2, else there is no spread.
        warmup: how many runs come first and do not count.
        synchronize: waits until the device has done all that it was told to do (`torch.cuda.synchronize`). Calls of a
            GPU return at once, so this is called on both sides of the run: what was begun before must not be counted,
            and what the run began must be.
        clock: seconds. Wall time, or `time.process_time` for code that computes in one thread: that does not count the
            time that other processes take away from this one.

    Returns:
        Median and quartiles of the seconds for one item.

    Raises:
        ValueError: `repeats` is less than 2.

    Example: runs of 9, 4, 1, 2, 90 and 3 seconds with `warmup=1` and `repeats=5` have the median 3 and the quartiles 2
        and 4.
    """
    if repeats < 2:
        raise ValueError(f"repeats must be at least 2 to show a spread, got {repeats}")
    wait = synchronize or (lambda: None)
    seconds = []
    for _ in range(warmup + repeats):
        arguments = () if setup is None else (setup(),)
        with garbage_waits():
            wait()
            start = clock()
            run(*arguments)
            wait()
            seconds.append((clock() - start) / items)
    return timing_of(seconds[warmup:])


@contextlib.contextmanager
def garbage_waits() -> Iterator[None]:
    """No garbage collection inside the block: it would be counted as the work of whoever is measured."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


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
