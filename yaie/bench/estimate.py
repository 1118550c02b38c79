"""Estimated times of an H100 beside the recorded ones: fits the constants of `yaie/cuda/estimate.py`, and tests them.

The emulator counts what each recorded kernel does at its recorded size (in a few blocks), which takes minutes and 8 GB
of memory; what it counted is recorded, so that a fit takes seconds. Half of the kernels, chosen by their names, are
fitted. The errors of an estimate are those of the other half.
"""

from __future__ import annotations

import gc
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from statistics import mean
from typing import Any, NamedTuple

import torch

from yaie.bench import harness, recorded
from yaie.bench.kernel_cases import Case, Setting, families, family
from yaie.cuda import estimate
from yaie.cuda.card.build import usage
from yaie.cuda.card.nvcc import find_nvcc
from yaie.cuda.emulated.library import sampled
from yaie.cuda.source import Source, read_source
from yaie.kernels import ops
from yaie.options import Parser

CARD, RECORD = "h100", "kernels-nvidia-h100-80gb-hbm3.json"
COUNTS = harness.RESULTS / "estimate-nvidia-h100-80gb-hbm3.json"

# Every other of the recorded kernels in alphabetical order, from the first on. The others are only tested.
FITTED = (
    *("choose_victims", "copy_blocks_2_vectors", "flash_attention_1_naive", "flash_attention_3_registers"),
    *("gather_pages", "match_prefixes_2_warp", "paged_decode_2_warp_per_head", "paged_decode_4_split_kv"),
    *("paged_prefill", "reduce_2_shared", "reshape_and_cache", "rms_norm_2_one_pass", "rope_2_packs", "sample_2_radix"),
    *("silu_mul_1_elements", "transpose_1_naive", "transpose_3_padded", "vector_add_grid_stride"),
)

# What was recorded is another kernel than the one of this name that is counted now.
CHANGED = ("paged_decode_5_async",)

WHITE_PAPER = "NVIDIA H100 Tensor Core GPU Architecture, 2022 (SXM5)"
CLOCK = 1.755e9  # Hz
LUO = "Luo et al., Benchmarking and Dissecting the Nvidia Hopper GPU Architecture, arXiv 2402.13499, {} cycles"
# What is known from elsewhere: value and source.
SOURCED = {
    "multiprocessors": (132, WHITE_PAPER),
    "clock": (CLOCK, "NVIDIA's boost clock of the H100 PCIe; that of the SXM5 under load is near it"),
    "l2_bytes": (50e6, WHITE_PAPER),
    "l1_latency": (40.7 / CLOCK, LUO.format("40.7")),
    "l2_latency": (263 / CLOCK, LUO.format("263")),
    "shared_latency": (29 / CLOCK, LUO.format("29")),
    "barrier_seconds": (30 / CLOCK, "taken to be that of shared memory"),
    "products_per_cycle": (0.63, "mma.sync reaches 63% of the tensor cores' peak, which is one m16n8k16 a cycle: Luo"),
}
# Fitted: where the search begins.
BEGIN = {
    "l2_rate": 5.5e12,
    "partial_rate": 2e12,
    "atomic_seconds": 2e-9,
    "memory_latency": 5e-7,
    "loads_under_way": 4.0,
    "block_seconds": 2e-7,
    "launch_seconds": 2e-6,
    "sharpness": 4.0,
}


class Counted(NamedTuple):
    """A recorded call and what the emulator counts of it."""

    case: str
    call: str
    seconds: float
    inputs: int  # sets of them, taken in turn
    works: list[estimate.Work]

    @property
    def is_fitted(self) -> bool:
        return self.call in FITTED

    @property
    def why_not(self) -> str:
        """Why there is no estimate to compare; empty if there is."""
        if self.call in CHANGED:
            return "left out: has changed since"
        if any(work.queued for work in self.works):
            return "refused: atomics in shared memory"
        if self.inputs * sum(work.first_read + work.first_written for work in self.works) < SOURCED["l2_bytes"][0]:
            return "left out: its inputs stayed in L2"
        return ""


class AsOnACard(Setting):
    """The sizes of a card, in the emulator."""

    @property
    def real(self) -> bool:
        return True

    def random(self, *shape: int, dtype: torch.dtype = torch.float32, scale: float = 1.0) -> torch.Tensor:
        """The same million numbers again and again: to draw them took longer than to count."""
        few = (torch.randn(min(math.prod(shape), 1 << 20)) * scale).to(dtype)
        return few.repeat(-(-math.prod(shape) // len(few)))[: math.prod(shape)].view(shape)


# ---- counting


def count_all(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The launches of every recorded call, as the emulator reports them, with the registers of each."""
    seconds: dict[tuple[str, str], dict[str, float]] = {}
    for each in recorded.measured_kernels(record):
        if each.ours:
            seconds.setdefault((each.family, each.case), {})[each.call] = each.seconds
    found = []
    for name in families():
        inputs = {case["case"]: case["inputs"] for case in record["results"][name]["cases"]}
        for case in family(name).cases(AsOnACard("cpu")):
            for row in count_case(name, case, seconds.get((name, case.title), {})):
                found.append({**row, "inputs": inputs[case.title]})
    return found


def count_case(name: str, case: Case, seconds: Mapping[str, float]) -> list[dict[str, Any]]:
    if not seconds:
        return []
    torch.manual_seed(0)
    work, found = case.make(), []
    for call in sorted(seconds.keys() & work.ours.keys()):
        with sampled() as sample:
            work.ours[call]()
        works = estimate.works_of(sample.launches, usage(source_of(name, call)))
        print(f"counted {case.title}: {call}", flush=True)
        found.append({"case": case.title, "call": call, "seconds": seconds[call], "works": [asdict(w) for w in works]})
    del work
    gc.collect()
    return found


def source_of(name: str, launcher: str) -> Source:
    """The file of a family that has a launcher."""
    start = f'extern "C" int {launcher}('
    return read_source(next(path for path in (ops.CSRC / name).glob("*.cu") if start in path.read_text()))


def recorded_counts() -> list[Counted]:
    return [
        Counted(**{**each, "works": [estimate.Work(**work) for work in each["works"]]})
        for each in json.loads(COUNTS.read_text())["results"]
    ]


# ---- fitting


def error_of(one: Counted, card: Mapping[str, float]) -> float:
    """Of the estimate, as a share of the recorded time."""
    return estimate.seconds_of(one.works, card) / one.seconds - 1


def fit(counted: Sequence[Counted], known: Mapping[str, float], begin: Mapping[str, float]) -> dict[str, float]:
    """The constants with the least mean error, each kernel counted once: of the logarithm, as too long by a factor is
    as bad as too short by it, and none worse than a factor of 2: such a kernel has a limit that is not modelled, and is
    not to draw the constants of others away. One constant, or two at a time, go up or down by a step that shrinks when
    nothing gets better.
    """
    cases = Counter(one.call for one in counted)

    def loss(constants: Mapping[str, float]) -> float:
        card = {**known, **constants}
        return sum(min(abs(math.log1p(error_of(one, card))), math.log(2)) / cases[one.call] for one in counted)

    moves = [{name: way} for name in begin for way in (1, -1)]
    moves += [{a: x, b: y} for a, b in combinations(begin, 2) for x in (1, -1) for y in (1, -1)]
    best, step = dict(begin), 1.5
    least = loss(best)
    while step > 1.01:
        before = least
        for move in moves:
            changed = {**best, **{name: best[name] * step**way for name, way in move.items()}}
            if (found := loss(changed)) < least:
                best, least = changed, found
        if least > before * 0.999:
            step **= 0.5
    return best


# ---- what is told and recorded


def facts_of_card(counted: Sequence[Counted], record: Mapping[str, Any]) -> dict[str, Any]:
    """The file of the card: constants with their sources, errors by kind on what was not fitted, what was tried."""
    usable = [one for one in counted if not one.why_not]
    copied = record["results"]["memory"]["ceilings"]["copy"]
    sourced = SOURCED | {"memory_rate": (copied, "a large copy, in the run that recorded the kernels")}
    known = {name: value for name, (value, _) in sourced.items()}
    fitted = fit([one for one in usable if one.is_fitted], known, BEGIN)
    card, tested = known | fitted, [one for one in usable if not one.is_fitted]
    errors: dict[str, dict[str, list[float]]] = {}  # by kind and kernel: one kernel may be recorded at many sizes
    for one in tested:
        bound_by = next(iter(estimate.longest_first(one.works, card)))
        kernels = errors.setdefault(estimate.kind_of(one.works, bound_by), {})
        kernels.setdefault(one.call, []).append(abs(error_of(one, card)))
    return {
        "card": record["device"],
        "recorded": record["date"],
        "command": "python -m yaie.bench estimate --save",
        "constants": {
            **{name: {"value": value, "source": source} for name, (value, source) in sourced.items()},
            **{name: {"value": float(f"{value:.4g}"), "source": "fitted"} for name, value in fitted.items()},
        },
        "fitted_to": sorted({one.call for one in usable if one.is_fitted}),
        "errors": {
            name: {"mean": round(mean(map(mean, each.values())), 4), "kernels": len(each)}
            for name, each in errors.items()
        },
        "tried": {"seconds": [min(one.seconds for one in usable), max(one.seconds for one in usable)]},
    }


def print_all(counted: Sequence[Counted], facts: Mapping[str, Any]) -> None:
    card, rows = estimate.constants(facts), []
    for one in counted:
        name, shown = f"{one.call}, {one.case}", [estimate.in_words(one.seconds)]
        if one.why_not:
            rows.append([name, *shown, "", "", one.why_not, ""])
            continue
        seconds, alone = estimate.seconds_of(one.works, card), estimate.longest_first(one.works, card)
        bound = next(iter(alone))
        shown += [estimate.in_words(seconds), f"{error_of(one, card):+.0%}", f"{bound} {alone[bound] / seconds:.0%}"]
        rows.append([name, *shown, "fitted" if one.is_fitted else "tested"])
    columns = ["", "recorded", "estimated", "error", "bound by", ""]
    harness.print_table(f"{facts['card']}, times recorded on {facts['recorded']}", columns, rows)
    print("Mean errors of what was tested:")
    for name, each in facts["errors"].items():
        print(f"  {name:<28} {each['mean']:>4.0%}  {each['kernels']} kernel{'s' * (each['kernels'] > 1)}")


def main(arguments: list[str]) -> None:
    """Fit, test and show; see `--help`."""
    parser = Parser(prog="python -m yaie.bench estimate", description=__doc__)
    parser.add_argument("--count", action="store_true", help="count anew in the emulator; needs nvcc for the registers")
    parser.add_argument("--save", action="store_true", help="record the counts, and the constants for estimates")
    options = parser.parse_args(arguments)
    record = json.loads((harness.RESULTS / RECORD).read_text())
    if options.count:
        if not find_nvcc():
            parser.error("--count: nvcc was not found; it says how many registers each kernel needs")
        facts = harness.environment("estimate", arguments) | {"times": f"those of {RECORD}"}
        COUNTS.write_text(json.dumps({**facts, "results": count_all(record)}, indent=1) + "\n")
    counted = recorded_counts()
    facts = facts_of_card(counted, record)
    print_all(counted, facts)
    if options.save:
        path = estimate.FOLDER / f"{CARD}.json"
        path.write_text(json.dumps(facts, indent=1) + "\n")
        print(f"recorded in {path}")
