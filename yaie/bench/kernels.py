"""Every kernel of csrc/ beside torch: time, bytes or FLOPs per second, and the share of what the card can do.

On a GPU the sizes are those of a serving engine. On a CPU the kernels run in the emulator's fast mode at small sizes:
that shows that they are right and what the emulator costs, and says nothing about a GPU. Every result is compared with
the plainest torch computation before it is timed. Times of a GPU are CUDA events around a call, in turn through inputs
that exceed the L2 cache; the ceilings (a large copy, a large bf16 matrix product) are measured in the same run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from yaie.bench import card, harness
from yaie.bench.kernel_cases import Call, Case, Setting, Work, families, family, package
from yaie.bench.recorded import source_hash
from yaie.kernels import ops
from yaie.options import Parser, amount
from yaie.profiling import timing

ROOM = 12 << 30  # bytes for the inputs of one case
PEERS = ("flashinfer", "flash_attn")
LONG = 1e-3  # seconds: the launch of a call that takes longer does not count


def main(arguments: list[str]) -> int:
    """Run the benchmark; see `--help`. The exit status is 1 if a kernel failed."""
    parser = Parser(prog="python -m yaie.bench kernels", description=__doc__)
    here = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=("cuda", "cpu"), default=here, help="default: %(default)s")
    parser.add_argument("--family", action="append", choices=families(), help="only this one; may be repeated")
    parser.add_argument("--peers", action="store_true", help=f"also {' and '.join(PEERS)}, if installed")
    parser.add_argument("--seconds", type=amount, default=0.2, help="for each timing (default: %(default)s)")
    parser.add_argument("--save", action="store_true", help="record the result under yaie/bench/results/")
    options = parser.parse_args(arguments)
    if options.device == "cpu":
        parser.refuse(options, "needs --device cuda", "peers", "seconds")
    setting = Setting(options.device, options.peers)
    if obstacle := ops.obstacle(setting.backend):
        parser.error(f"--device {options.device}: {obstacle}")
    facts = facts_of(setting, arguments)
    harness.print_header(facts)
    print(__doc__.partition("\n\n")[2])

    for name in PEERS if options.peers else ():
        if package(name) is None:
            print(f"{name} is not installed: its rows are left out")
    if not setting.real:
        torch.set_num_threads(1)  # CPU time counts threads that wait for each other
    begin, names = time.perf_counter(), options.family or families()
    compile_seconds = compile_all(setting, names)
    print(f"compiled in {compile_seconds:.1f} s (all files at once; from the cache if nothing changed)")
    best = card.ceilings() if setting.real else {}
    for name, value in best.items():
        print(f"ceiling, {name}: {rate(value, 'FLOP/s' if name == 'compute' else 'B/s')}")

    failed = False
    for i, name in enumerate(names):
        table = measure_family(name, setting, best, options.seconds)
        failed |= any("error" in row and row["ours"] for case in table for row in case["calls"])
        if options.save:
            shared = {key: facts[key] for key in ("date", "versions", "command", "times")}
            shared["csrc"] = source_hash(name)
            save_family(name, facts, shared | {"ceilings": best, "compile_seconds": compile_seconds, "cases": table})
        if not is_alive(setting):
            return run_the_rest(names[i + 1 :], arguments)
    print(f"\nThat took {time.perf_counter() - begin:.0f} s in all.")
    return int(failed)


def facts_of(setting: Setting, arguments: list[str]) -> dict[str, Any]:
    clock = "CUDA events" if setting.real else "CPU time of the process"
    facts = harness.environment("kernels", arguments, device=setting.device, clock=clock)
    if not setting.real:
        facts["kernels"] = "in the emulator's fast mode, small sizes: no statement about a GPU"
    return facts


def compile_all(setting: Setting, names: list[str]) -> float:
    """Build the files of all families at once. What does not compile fails where it is used."""
    sources = [f"{name}/{path.name}" for name in names for path in sorted((ops.CSRC / name).glob("*.cu"))]
    start = time.perf_counter()

    def build(source: str) -> None:
        try:
            setting.module(source)
        except Exception as error:
            print(f"{source}: {type(error).__name__}: {error}")

    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        list(pool.map(build, sources))
    return time.perf_counter() - start


def measure_family(name: str, setting: Setting, best: dict[str, float], seconds: float) -> list[dict[str, Any]]:
    """The record of every case of a family, printed as it comes."""
    table = []
    try:
        cases = family(name).cases(setting)
    except Exception as error:
        print(f"\n{name}: FAILED: {type(error).__name__}: {error}")
        return [{"case": name, "calls": [{"name": name, "ours": True, "error": _one_line(error)}]}]
    for case in cases:
        record = measure_case(case, setting, seconds)
        print_case(record, best)
        table.append(record)
        if not is_alive(setting):
            print("The GPU does not answer after this; the rest of the family is left out.")
            break
    return table


def measure_case(case: Case, setting: Setting, seconds: float) -> dict[str, Any]:
    """Check and time every rung and every peer of a case."""
    record = {
        "case": case.title,
        "bytes": case.cost.bytes,
        "flops": case.cost.flops,
        "ceiling": case.ceiling,
        "inputs": 1,
        "calls": [],
    }
    try:
        torch.manual_seed(0)
        count = card.copies_needed(case.cost.bytes, ROOM) if setting.real else 1
        works = [case.make() for _ in range(count)]
        wanted = works[0].wanted()
    except Exception as error:
        record["calls"].append({"name": "inputs", "ours": True, "error": _one_line(error)})
        return record
    record["inputs"] = count
    for group in ("ours", "peers", "on_cpu"):
        for name in getattr(works[0], group):
            calls = [getattr(work, group)[name] for work in works]
            row: dict[str, Any] = {"name": name, "ours": group == "ours"}
            try:
                work = works[0]
                part = work.of.get(name, work.of_ours if row["ours"] else work.of_peers)
                check(calls[0], work, part, wanted, case.tolerance)
                if group == "on_cpu":
                    row |= {"time": timing.measure(calls[0]), "clock": "wall time"}
                else:
                    row |= measure(calls, setting, seconds, case.launch_bound)
            except Exception as error:
                row["error"] = _one_line(error)
            record["calls"].append(row)
            if not is_alive(setting):
                return record
    return record


def check(
    call: Call, work: Work, part: Callable[[torch.Tensor], torch.Tensor], wanted: torch.Tensor, tolerance: float
) -> None:
    """Raise AssertionError unless the call's result is what it must be: equal, or each row close relative to its norm.

    A row's own norm, because late rows of an attention are means of many values and so much smaller than early ones.
    """
    work.clear()
    result = part(call())
    result = result.to(wanted.device)
    if tolerance == 0:
        if not torch.equal(result, wanted):
            raise AssertionError("the result is not equal to torch's")
        return
    difference = torch.linalg.vector_norm(result.float() - wanted.float(), dim=-1)
    worst = (difference / torch.linalg.vector_norm(wanted.float(), dim=-1).clamp_min(1e-12)).max().item()
    if not worst <= tolerance:  # also for NaN
        raise AssertionError(f"a row differs from torch's by {worst:.3g} of its norm; allowed {tolerance}")


def measure(calls: list[Call], setting: Setting, seconds: float, graph: bool) -> dict[str, Any]:
    """The time of a call, and of one within a CUDA graph if asked for."""
    if not setting.real:
        return {"time": timing.measure(calls[0], repeats=3, clock=time.process_time)}
    row: dict[str, Any] = {"time": card.measure_calls(calls, seconds)}
    if graph and row["time"].median < LONG:
        try:
            row["graph"] = card.measure_graph(calls)
        except RuntimeError as error:
            row["no graph"] = _one_line(error)
            torch.cuda.synchronize()
    return row


def is_alive(setting: Setting) -> bool:
    """False once a kernel has broken the CUDA context, or a capture that failed torch's generator of random numbers:
    nothing else can run in this process then.
    """
    if not setting.real:
        return True
    try:
        torch.rand(1, device=setting.device)
        torch.cuda.synchronize()
    except RuntimeError:
        return False
    return True


def run_the_rest(names: list[str], arguments: list[str]) -> int:
    """The families that have not been measured, in a new process; always a failure, because a kernel broke this one."""
    if names:
        others = [word for name in names for word in ("--family", name)]
        kept = [a for i, a in enumerate(arguments) if a != "--family" and arguments[i - 1 : i] != ["--family"]]
        subprocess.run([sys.executable, "-m", "yaie.bench", "kernels", *kept, *others], check=False)
    return 1


# ---- what is shown and recorded


def rate(value: float, unit: str) -> str:
    for factor, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
        if value >= factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"


def speed(record: dict[str, Any], seconds: float) -> tuple[float, str]:
    """What a call achieved, in the unit of its ceiling."""
    if record["ceiling"] == "compute":
        return record["flops"] / seconds, "FLOP/s"
    return record["bytes"] / seconds, "B/s"


def print_case(record: dict[str, Any], best: dict[str, float]) -> None:
    """A row per rung and per peer (in brackets); speed and share only where a card was measured."""
    rows, graphs = [], any("graph" in row for row in record["calls"])
    timed = [row for row in record["calls"] if "time" in row]
    peers = [row["time"].median for row in timed if not row["ours"]]
    for row in timed:
        cells = [row["name"] if row["ours"] else f"({row['name']})", row["time"]]
        if graphs:
            cells.append(row.get("graph", "cannot be captured"))
        if best:
            value, unit = speed(record, row["time"].median)
            cells += [rate(value, unit), f"{value / best[record['ceiling']]:.0%}"]
        cells.append(f"{min(peers) / row['time'].median:.3g}" if peers and row["ours"] else "")
        rows.append(cells)
    columns = ["", "time", *(["in a graph"] if graphs else [])]
    columns += ["speed", f"of {record['ceiling']}"] if best else []
    sets = f" ({record['inputs']} sets of inputs in turn)" if record["inputs"] > 1 else ""
    harness.print_table(record["case"] + sets, [*columns, "times as fast as the best peer"], rows)
    for row in record["calls"]:
        if "error" in row:
            print(f"  {row['name']} {'FAILED' if row['ours'] else 'is not available'}: {row['error']}")


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: " + " ".join(str(error).split())[:400]


def save_family(name: str, facts: dict[str, Any], record: dict[str, Any]) -> None:
    """Record a family in the file of this device, beside the families that are in it from this or an earlier run."""
    path = harness.results_path("kernels", facts)
    earlier = json.loads(path.read_text())["results"] if path.exists() else {}
    print(f"recorded in {harness.save_results('kernels', facts, dict(sorted((earlier | {name: record}).items())))}")
