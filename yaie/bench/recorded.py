"""Reading recorded results: what `python -m yaie.bench NAME --save` wrote, as objects to compare and to plot."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from yaie.bench.harness import RESULTS
from yaie.profiling.costs import Cost, Machine, least_time

CSRC = Path(__file__).resolve().parents[2] / "csrc"


class Measured(NamedTuple):
    """One way to compute a case, as it was measured.

    call: the name of our launcher or of a peer. seconds: the median, within a CUDA graph where that was measured: such
    a case is so short that the launch counts. machine: the ceilings that were measured in the same run.
    """

    family: str
    case: str
    call: str
    ours: bool
    cost: Cost
    seconds: float
    machine: Machine

    @property
    def least(self) -> float:
        """Seconds that the roofline allows."""
        return least_time(self.cost, self.machine)

    @property
    def share(self) -> float:
        """How much of what the machine can do was reached: 1 is the roof."""
        return self.least / self.seconds


def load(name: str, folder: Path = RESULTS) -> list[dict[str, Any]]:
    """The recorded runs of a benchmark, one per device, with their facts (device, date, versions, command)."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob(f"{name}-*.json"))]


def measured_kernels(run: dict[str, Any]) -> list[Measured]:
    """All that was timed in a run of `kernels`; nothing for a run in the emulator, which has no ceilings."""
    found = []
    for family, record in run["results"].items():
        ceilings = record["ceilings"]
        for case in record["cases"] if ceilings else ():
            machine = Machine(ceilings["read" if case["ceiling"] == "read" else "copy"], ceilings["compute"])
            for row in case["calls"]:
                if "time" in row:
                    seconds = row.get("graph", row["time"])["median"]
                    cost = Cost(case["bytes"], case["flops"])
                    found.append(Measured(family, case["case"], row["name"], row["ours"], cost, seconds, machine))
    return found


def source_hash(family: str) -> str:
    """Changes with the code of a family's kernels, and of the headers that all share; not with their comments, which
    say what was measured.
    """
    code = hashlib.sha256()
    for path in [*sorted(CSRC.glob("*.cuh")), *sorted((CSRC / family).glob("*.cu*"))]:
        words = re.sub(r"//.*", "", path.read_text()).split()
        code.update(" ".join(words).encode())
    return code.hexdigest()[:12]


def changed_since(run: dict[str, Any]) -> list[str]:
    """The families whose kernels are no longer those that were measured; runs before 25 November 2026 do not tell."""
    return [
        family
        for family, record in run["results"].items()
        if record.get("csrc", source_hash(family)) != source_hash(family)
    ]


def best_of_each_case(measured: list[Measured]) -> list[Measured]:
    """Our fastest rung of every case."""
    best: dict[str, Measured] = {}
    for one in measured:
        if one.ours and (one.case not in best or one.seconds < best[one.case].seconds):
            best[one.case] = one
    return list(best.values())


def print_times(family: str, words: str = "", column: str | None = "share") -> None:
    """Print what was recorded of a family's cases whose name contains `words`.

    column: what stands beside the time of a call: its "share" of what the machine can do, its "TFLOP/s", or nothing.
    A call that failed is printed as failed.
    """
    runs = [run for run in load("kernels") if measured_kernels(run) and family in run["results"]]
    if not runs:
        print("No measurement on a GPU has been recorded yet.")
    for run in runs:
        record = run["results"][family]
        print(f"{run['device']}, {record['date']}, torch {record['versions']['torch']}: {record['command']}")
        if family in changed_since(run):
            print("The kernels have changed since.")
        measured = {(one.case, one.call): one for one in measured_kernels(run) if one.family == family}
        for case in record["cases"]:
            if words in case["case"]:
                print(f"\n{case['case']}")
                for row in case["calls"]:
                    print(f"  {row['name']:<34}" + _time(measured.get((case["case"], row["name"])), row, column))


def _time(one: Measured | None, row: dict[str, Any], column: str | None) -> str:
    if one is None:
        return f"failed: {row['error']}"
    beside = {
        "share": f"{one.share:6.0%} of the limit",
        "TFLOP/s": f"{one.cost.flops / one.seconds / 1e12:8,.1f} TFLOP/s",
        None: "",
    }
    return f"{one.seconds * 1e6:>12,.1f} us {beside[column]}".rstrip()
