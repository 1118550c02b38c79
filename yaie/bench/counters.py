"""Sectors per request and bank conflicts: what the emulator counts beside what a GPU's own counters say.

On a GPU the launches below run under Nsight Compute (`ncu`), which reads the hardware's counters; the emulator counts
the same launches with the same sizes. Without a GPU only the emulator's side is shown.

The memory kernels must agree: there the source leaves no choice to a compiler. In the attention kernels it does. Copies
that go around the registers (cp.async) have counters of their own on the card and are loads and stores in the emulator;
and ptxas may merge or repeat loads where g++ does not. No compiler has a say in the boxes of TMA and the operands of
wgmma: there the kernels for Hopper must agree, too. They are launched on a Hopper only.
"""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import torch

from yaie.bench import harness
from yaie.cuda import Profile
from yaie.cuda.card.nvcc import find_tool
from yaie.cuda.machine import for_hopper, obstacle, on_hopper
from yaie.cuda.profile import LineProfile
from yaie.kernels.ops.launching import CSRC, load
from yaie.options import Parser

SIZE = 256  # rows and columns of the matrices: small enough for the emulator to count every block


@dataclass(frozen=True)
class Launch:
    """One launch of one kernel, on fresh tensors of `device`.

    kernel: a part of the name that the profiler shows. exact: the counts in which both sides must agree.
    """

    title: str
    source: str
    launcher: str
    kernel: str
    arguments: Callable[[str], tuple]
    exact: tuple[str, ...] = ("load_sectors", "store_sectors", "load_conflicts", "store_conflicts")


def _matrices(device: str) -> tuple:
    return torch.randn(SIZE, SIZE, device=device), torch.zeros(SIZE, SIZE, device=device), SIZE, SIZE


def _numbers(device: str) -> tuple:
    return torch.randn(SIZE * SIZE, device=device), torch.zeros(1, device=device), SIZE * SIZE


def _blocks(device: str) -> tuple:
    """Two layers of 8 blocks of 16 tokens, 2 heads of 64 halves; 3 blocks are copied."""
    key, value = (torch.randn(2, 8, 16, 2, 64, device=device).half() for _ in range(2))
    mapping = torch.tensor([[0, 4], [1, 5], [2, 6]], device=device)
    return key, value, mapping, 3, 2, 8, 16 * 2 * 64 * 2


def _decode(device: str) -> tuple:
    """2 sequences of 64 tokens in pages of 16, 4 query heads on 1 KV head of 64 bfloat16."""
    query = torch.randn(2, 4, 64, device=device).bfloat16()
    keys, values = (torch.randn(8, 16, 1, 64, device=device).bfloat16() for _ in range(2))
    tables = torch.arange(8, dtype=torch.int32, device=device).view(2, 4)
    lens = torch.full((2,), 64, dtype=torch.int32, device=device)
    shape = {"num_tiles": 2, "tile_tokens": 1, "num_heads": 4, "num_kv_heads": 1, "head_dim": 64, "block_size": 16}
    shape |= {"max_blocks": 4, "num_splits": 1, "split_tokens": 1, "scale": 0.125, "dtype": 2}
    return query, keys, values, tables, lens, torch.zeros_like(query), shape


def _prefill(device: str) -> tuple:
    """1 sequence of 128 tokens, 2 heads of 64 bfloat16, causal."""
    query, key, value = (torch.randn(128, 2, 64, device=device).bfloat16() for _ in range(3))
    starts = torch.tensor([0, 128], dtype=torch.int32, device=device)
    return query, key, value, torch.zeros_like(query), starts, starts, 1, 128, 2, 2, 64, 0.125, 1, 2


def _flash_5(device: str) -> tuple:
    """1 sequence of 256 tokens, 2 heads of 64 bfloat16, causal: more than one tile of 128 keys."""
    query, key, value = (torch.randn(256, 2, 64, device=device).bfloat16() for _ in range(3))
    starts = torch.tensor([0, 256], dtype=torch.int32, device=device)
    return query, key, value, torch.zeros_like(query), starts, starts, 1, 256, 256, 256, 2, 2, 64, 0.125, 1, 2


def _flash_6_paged(device: str) -> tuple:
    """64 new tokens behind 192, in pages of 16; 2 query heads on 1 KV head of 64 bfloat16."""
    query = torch.randn(64, 2, 64, device=device).bfloat16()
    keys, values = (torch.randn(16, 16, 1, 64, device=device).bfloat16() for _ in range(2))
    table = torch.arange(16, dtype=torch.int32, device=device).view(1, 16)
    tiles = torch.tensor([[0, 0, 64, 193]], dtype=torch.int32, device=device)
    counter = torch.zeros(1, dtype=torch.int32, device=device)
    sizes = 1, 64, 64, 16, 2, 1, 64, 16, 16
    return query, keys, values, table, tiles, torch.zeros_like(query), counter, *sizes, 0.125, 2


BY_HARDWARE = ("tile_sectors", "operand_wavefronts")
PAGED, FLASH = "paged_attention/paged_decode_", "flash_attention/flash_attention_"
LAUNCHES = (
    Launch("copy, 4-byte units", "memory/copy_blocks.cu", "copy_blocks_1_elements", "copy_blocks", _blocks),
    Launch("copy, 16-byte units", "memory/copy_blocks.cu", "copy_blocks_2_vectors", "copy_blocks", _blocks),
    Launch("transpose, naive", "memory/transpose.cu", "transpose_1_naive", "transpose_1", _matrices),
    Launch("transpose, tiled", "memory/transpose.cu", "transpose_2_tiled", "transpose_tile", _matrices),
    Launch("transpose, padded", "memory/transpose.cu", "transpose_3_padded", "transpose_tile", _matrices),
    Launch("sum, atomics", "memory/reduce.cu", "reduce_1_atomics", "reduce_1", _numbers),
    Launch("sum, shared memory", "memory/reduce.cu", "reduce_2_shared", "reduce_2", _numbers),
    Launch("sum, shuffles", "memory/reduce.cu", "reduce_3_shuffle", "reduce_3", _numbers),
    Launch(
        "paged decode, rung 2",
        f"{PAGED}2_warp_per_head.cu",
        "paged_decode_2_warp_per_head",
        "warp_per_head",
        _decode,
        (),
    ),
    Launch("paged decode, rung 3", f"{PAGED}3_grouped.cu", "paged_decode_3_grouped", "grouped", _decode, ()),
    Launch("flash, rung 2", f"{FLASH}2_tiles.cu", "flash_attention_2_tiles", "tiles", _prefill, ()),
    Launch("flash, rung 3", f"{FLASH}3_registers.cu", "flash_attention_3_registers", "registers", _prefill, ()),
    Launch("flash, rung 4", f"{FLASH}4_tensor_cores.cu", "flash_attention_4_tensor_cores", "tensor", _prefill, ()),
    Launch("flash, rung 5", f"{FLASH}5_wgmma.cu", "flash_attention_5_wgmma", "wgmma", _flash_5, BY_HARDWARE),
    Launch("flash, rung 6", f"{FLASH}6_overlap.cu", "flash_attention_6_paged", "overlap", _flash_6_paged, BY_HARDWARE),
)


@dataclass(frozen=True)
class Counts:
    """Per launch: sectors of global memory per request of a warp (None: no such access), bank conflicts in all.

    tile_sectors: those that TMA loads. operand_wavefronts: those in which wgmma reads its operands.
    """

    load_sectors: float | None
    store_sectors: float | None
    load_conflicts: int
    store_conflicts: int
    tile_sectors: int = 0
    operand_wavefronts: int = 0


def launches_on(device: str) -> list[Launch]:
    """Those that can be launched; the emulator launches all."""
    return [
        each for each in LAUNCHES if device == "cpu" or not for_hopper(CSRC / each.source) or on_hopper(each.source)
    ]


def build(launches: Sequence[Launch], backend: str) -> None:
    """Compile their files, several at a time."""
    with ThreadPoolExecutor() as pool:
        list(
            pool.map(lambda file: load(file, backend, check=backend == "emulator"), {each.source for each in launches})
        )


# ---- the emulator's side


def emulator_counts(launch: Launch) -> Counts:
    torch.manual_seed(0)
    module = load(launch.source, "emulator", check=True)
    profile = module.profile(launch.launcher, *launch.arguments("cpu"))
    if profile.counted_blocks < profile.blocks:
        raise RuntimeError(f"{launch.title}: only {profile.counted_blocks} of {profile.blocks} blocks were counted")
    return counts_of(profile)


def unit_of(line: LineProfile) -> str:
    """The call by which another unit of the card than the warps makes an access; empty if they make it."""
    call = {"global": "tma_load", "shared": "wgmma_"}[line.space]
    return call if call in line.source else ""


def counts_of(profile: Profile) -> Counts:
    """A profile summed over its source lines. Atomics are neither loads nor stores, as for the profiler; and what TMA
    and wgmma read is no load of a warp.
    """

    def lines(space: str, operation: str, unit: str = "") -> list:
        wanted = space, operation, unit
        return [line for line in profile.lines if (line.space, line.operation, unit_of(line)) == wanted]

    def sectors(operation: str) -> float | None:
        found = lines("global", operation)
        return sum(line.sectors for line in found) / sum(line.requests for line in found) if found else None

    def conflicts(operation: str) -> int:
        return sum(line.bank_conflicts for line in lines("shared", operation))

    tiles = sum(line.sectors for line in lines("global", "load", "tma_load"))
    operands = sum(line.wavefronts for line in lines("shared", "load", "wgmma_"))
    return Counts(sectors("load"), sectors("store"), conflicts("load"), conflicts("store"), tiles, operands)


# ---- the card's side

METRICS = {
    "load_sectors": "l1tex__average_t_sectors_per_request_pipe_lsu_mem_global_op_ld.ratio",
    "store_sectors": "l1tex__average_t_sectors_per_request_pipe_lsu_mem_global_op_st.ratio",
    "load_conflicts": "l1tex__data_bank_conflicts_pipe_lsu_mem_shared_op_ld.sum",
    "store_conflicts": "l1tex__data_bank_conflicts_pipe_lsu_mem_shared_op_st.sum",
}
OF_HOPPER = {  # no other card has them
    "tile_sectors": "l1tex__m_xbar2l1tex_read_sectors_mem_global_op_tma_ld.sum",
    "operand_wavefronts": "l1tex__data_pipe_lsu_wavefronts_mem_shared_op_gmma.sum",
}


def ncu_command(ncu: str, launches: Sequence[Launch]) -> list[str]:
    """Profile what a child process launches between `cudaProfilerStart` and `cudaProfilerStop`, as CSV."""
    metrics = METRICS | (OF_HOPPER if any(for_hopper(CSRC / launch.source) for launch in launches) else {})
    return [
        *(ncu, "--csv", "--print-units", "base", "--profile-from-start", "off", "--clock-control", "none"),
        *("--metrics", ",".join(metrics.values())),
        *(sys.executable, "-m", "yaie.bench", "counters", "--launch-only"),
    ]


def launch_all() -> None:
    """What runs under the profiler: every launch once, with nothing else in the profiled range."""
    for launch in launches_on("cuda"):
        torch.manual_seed(0)
        call = getattr(load(launch.source, "cuda"), launch.launcher)
        arguments = launch.arguments("cuda")
        torch.cuda.synchronize()
        torch.cuda.profiler.start()
        call(*arguments)
        torch.cuda.synchronize()
        torch.cuda.profiler.stop()


def card_counts(ncu: str, launches: Sequence[Launch]) -> list[Counts]:
    """The counters of every launch.

    Raises:
        RuntimeError: ncu failed, or did not see all launches; with its output.
    """
    build(launches, "cuda")  # so that no compiler runs under the profiler
    environment = {**os.environ, "LC_ALL": "C"}  # the decimal point is a point
    run = subprocess.run(ncu_command(ncu, launches), capture_output=True, text=True, env=environment)
    kernels = parse_ncu(run.stdout)
    in_order = iter(kernels)  # a launcher may also start other kernels
    found = [next((m for name, m in in_order if launch.kernel in name), None) for launch in launches]
    if None in found:
        names, output = [name for name, _ in kernels], f"{run.stdout[-2000:]}\n{run.stderr[-2000:]}"
        raise RuntimeError(f"ncu (exit status {run.returncode}) saw the kernels {names}; its output ends:\n{output}")
    return [counts_of_metrics(metrics) for metrics in found]


def parse_ncu(text: str) -> list[tuple[str, dict[str, float | None]]]:
    """Kernel name and metrics of each profiled launch, in order, from the output of `ncu --csv`.

    Around the table stand lines that begin with `==` and whatever the program printed. The table has one row per launch
    and metric, with the columns "ID", "Kernel Name", "Metric Name" and "Metric Value" among others; large numbers have
    commas for thousands, and a metric that the card does not have is "n/a" (None here).
    """
    lines = text.splitlines()
    header = next((i for i, line in enumerate(lines) if line.startswith('"ID"')), None)
    if header is None:
        return []
    launches: dict[str, tuple[str, dict[str, float | None]]] = {}
    for row in csv.DictReader(io.StringIO("\n".join(line for line in lines[header:] if line.startswith('"')))):
        if row["Metric Name"] and row["ID"].isdigit():
            _, metrics = launches.setdefault(row["ID"], (row["Kernel Name"], {}))
            metrics[row["Metric Name"]] = _value(row["Metric Value"])
    return [launches[key] for key in sorted(launches, key=int)]


def _value(text: str) -> float | None:
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return None


def counts_of_metrics(metrics: dict[str, float | None]) -> Counts:
    """The profiler gives 0 sectors per request where there was no request."""
    found = {field: metrics.get(name) for field, name in (METRICS | OF_HOPPER).items()}
    return Counts(
        found["load_sectors"] or None,
        found["store_sectors"] or None,
        round(found["load_conflicts"] or 0),
        round(found["store_conflicts"] or 0),
        round(found["tile_sectors"] or 0),
        round(found["operand_wavefronts"] or 0),
    )


# ---- both beside each other


def main(arguments: list[str]) -> int:
    """Run the comparison; see `--help`. The exit status is 1 if the two sides differ."""
    parser = Parser(prog="python -m yaie.bench counters", description=__doc__)
    here = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", choices=("cuda", "cpu"), default=here, help="default: %(default)s")
    parser.add_argument("--save", action="store_true", help="record the result under yaie/bench/results/")
    parser.add_argument("--launch-only", action="store_true", help="only launch the kernels (run under ncu)")
    options = parser.parse_args(arguments)
    if options.launch_only:
        parser.refuse(options, "has no effect beside --launch-only", "device", "save")
        launch_all()
        return 0
    if options.device == "cuda" and (reason := obstacle("cuda")):
        parser.error(f"--device cuda: {reason}")
    facts = harness.environment("counters", arguments, device=options.device) | {"times": "none: these are counts"}
    harness.print_header(facts)
    launches = launches_on(options.device)
    build(launches, "emulator")
    emulated = [emulator_counts(launch) for launch in launches]
    measured: list[Counts] | None = None
    if options.device == "cuda":
        ncu = find_tool("ncu")
        if ncu is None:
            parser.error("ncu (Nsight Compute) was not found; it comes with the CUDA toolkit")
        version = subprocess.run([ncu, "--version"], capture_output=True, text=True).stdout
        facts["profiler"] = version.strip().splitlines()[-1] if version.strip() else "unknown"
        measured = card_counts(ncu, launches)
    print_counts(launches, emulated, measured)
    if options.save:
        print("recorded in", harness.save_results("counters", facts, results_of(launches, emulated, measured)))
    return int(measured is not None and any(differences(launches, emulated, measured)))


def differences(launches: Sequence[Launch], emulated: list[Counts], measured: list[Counts]) -> list[str]:
    """A sentence for each count that must be the same and differs by more than rounding."""
    found = []
    for launch, ours, card in zip(launches, emulated, measured, strict=True):
        for field in launch.exact:
            a, b = getattr(ours, field) or 0, getattr(card, field) or 0
            if abs(a - b) > 0.005 * max(a, b):
                found.append(f"{launch.title}: {field.replace('_', ' ')}: emulator {a:g}, card {b:g}")
    return found


def print_counts(launches: Sequence[Launch], emulated: list[Counts], measured: list[Counts] | None) -> None:
    fields = {
        "load_sectors": "sectors/load",
        "store_sectors": "sectors/store",
        "load_conflicts": "conflicts, loads",
        "store_conflicts": "conflicts, stores",
        "tile_sectors": "sectors by TMA",
        "operand_wavefronts": "wavefronts of wgmma",
    }

    def show(counts: Counts, field: str) -> str:
        value = getattr(counts, field)
        return "-" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)

    rows = []
    for i, launch in enumerate(launches):
        cells = []
        for field in fields:
            cells.append(show(emulated[i], field))
            cells += [show(measured[i], field)] if measured else []
        rows.append((launch.title, *cells))
    columns = []
    for name in fields.values():
        columns += [name, "card"] if measured else [name]
    harness.print_table("Emulator" + (", and the card's counters beside it" if measured else ""), ["", *columns], rows)
    if measured is None:
        print("No GPU: the card's side has not been measured here.")
    else:
        found = differences(launches, emulated, measured)
        print("\n".join(found) if found else "Where they must agree, the emulator counts what the card counts.")


def results_of(launches: Sequence[Launch], emulated: list[Counts], measured: list[Counts] | None) -> dict[str, Any]:
    return {
        launch.title: {
            "launcher": launch.launcher,
            "exact": launch.exact,
            "emulator": asdict(emulated[i]),
            "card": asdict(measured[i]) if measured else None,
        }
        for i, launch in enumerate(launches)
    }
