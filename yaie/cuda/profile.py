"""How a kernel touches memory: per source line, and thread by thread for one warp.

The counts are those of the instructions that the host compiler made at -O1, not of ptxas: a load that ptxas
would keep in a register may be counted twice. There is no cache and no time in them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise

from .estimate import Estimate, Work, estimate, works_of
from .findings import SourceLine

SECTOR = 32  # bytes: the unit in which the card moves global memory
ORIGIN = 256  # bytes: tensors lie in memory as on a card, where an allocation begins at a multiple of this
OPERATION = {0: "load", 1: "store", 2: "atomic"}


@dataclass(frozen=True)
class LineProfile:
    """One kind of access on one source line, summed over the blocks that were counted.

    A *request* is one instruction of one warp. ``sectors`` counts 32-byte sectors (global memory only),
    ``wavefronts`` the passes that the 32 banks need (shared memory only) and ``ideal_wavefronts`` those that
    remain without conflicts.
    """

    file: str
    line: int
    source: str
    space: str  # "global" or "shared"
    operation: str  # "load", "store" or "atomic"
    bytes_per_lane: int
    requests: int
    lanes: int
    bytes: int
    used_bytes: int
    sectors: int
    wavefronts: int
    ideal_wavefronts: int
    most_ways: int

    @property
    def sectors_per_request(self) -> float:
        return self.sectors / self.requests

    @property
    def bytes_moved(self) -> int:
        """What travels between global memory and the multiprocessor."""
        return self.sectors * SECTOR

    @property
    def share_used(self) -> float:
        """The share of the moved bytes that some lane asked for; 1 is fully coalesced."""
        return self.used_bytes / self.bytes_moved if self.sectors else 1.0

    @property
    def bank_conflicts(self) -> int:
        """Wavefronts beyond those that any such access needs."""
        return self.wavefronts - self.ideal_wavefronts


@dataclass(frozen=True)
class TensorProfile:
    """``bytes`` of a tensor and how many of them lie in sectors that were touched at all."""

    name: str
    bytes: int
    touched_bytes: int


@dataclass(frozen=True)
class TraceStep:
    """One instruction of the chosen warp: which lane touched which element.

    ``lanes[i]`` accessed ``array`` at element ``elements[i]``, byte address ``addresses[i]``. Addresses count
    from the beginning of the array, or from the multiple of 256 bytes before it if it begins at none, so that
    ``address // 32`` is the sector, ``address // 4 % 32`` the bank, and both are the same on every run. Steps
    are in the order in which the warp did them.
    """

    step: int
    line: int
    source: str
    space: str
    operation: str
    array: str
    bytes_per_lane: int
    lanes: tuple[int, ...]
    elements: tuple[int, ...]
    addresses: tuple[int, ...]


@dataclass(frozen=True)
class LaunchProfile:
    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    dynamic_shared: int
    stream: int = 0  # its handle


@dataclass(frozen=True)
class Profile:
    """The result of ``module.profile()``; ``print(profile)`` shows the table.

    ``counted_blocks`` of ``blocks`` were counted (a sample, if the launch is large). ``tensor_core_calls`` counts the
    ``mma`` of warps (m16n8k16; a ``wgmma`` is as many as it does the work of), ``shuffles`` theirs. ``trace`` is
    that of ``trace_warp`` of block ``trace_block``. ``works`` are the launches as an estimate of their time sees them.
    """

    lines: list[LineProfile]
    tensors: list[TensorProfile]
    launches: list[LaunchProfile]
    trace: list[TraceStep]
    trace_block: tuple[int, int, int]
    trace_warp: int
    blocks: int
    counted_blocks: int
    tensor_core_calls: int
    shuffles: int
    works: list[Work]
    file: str = field(default="")

    def line(self, number: int, space: str | None = None, operation: str | None = None) -> LineProfile:
        """The access on a source line; names the choices if there is none or more than one."""
        found = [
            p for p in self.lines if p.line == number and space in (None, p.space) and operation in (None, p.operation)
        ]
        if len(found) != 1:
            have = ", ".join(f"{p.line}: {p.space} {p.operation}" for p in self.lines)
            raise LookupError(f"line {number} has {len(found)} such accesses; the profile has {have}")
        return found[0]

    @property
    def bytes_moved(self) -> int:
        return sum(p.bytes_moved for p in self.lines)

    @property
    def bank_conflicts(self) -> int:
        return sum(p.bank_conflicts for p in self.lines)

    def estimate(self, card: str = "h100") -> Estimate:
        """The time of the call on a card, as ``module.estimate`` tells it, but without the compiler's registers."""
        return estimate(self.works, card)

    def table(self) -> str:
        head = f"{'line':>5}  {'access':<14} {'B/lane':>6} {'requests':>9} {'sectors/req':>11} {'used':>5}"
        head += f" {'ways':>4} {'conflicts':>9}"
        rows = [head + "  source"]
        for p in self.lines:
            if p.space == "global":
                numbers = f"{p.sectors_per_request:>11.1f} {p.share_used:>5.0%} {'':>4} {'':>9}"
            else:
                numbers = f"{'':>11} {'':>5} {p.most_ways:>4} {p.bank_conflicts:>9}"
            access = f"{p.space} {p.operation}"
            rows.append(f"{p.line:>5}  {access:<14} {p.bytes_per_lane:>6} {p.requests:>9} {numbers}  {p.source[:60]}")
        rows.append(f"global memory moved {self.bytes_moved:,} bytes in {SECTOR}-byte sectors")
        rows += [f"tensor cores were called {self.tensor_core_calls:,} times"] * (self.tensor_core_calls > 0)
        rows += [f"  {t.name}: {t.touched_bytes:,} of {t.bytes:,} bytes touched" for t in self.tensors]
        if self.counted_blocks < self.blocks:
            rows.append(f"counted {self.counted_blocks} of {self.blocks} blocks")
        return "\n".join(rows)

    def __str__(self) -> str:
        return self.table()


def make_profile(
    report: dict,
    trace_rows: list,
    places: dict[int, SourceLine],
    lines: dict[str, list[str]],
    trace_block: tuple[int, int, int],
    trace_warp: int,
) -> Profile:
    """Gathers the runtime's counters by source line."""
    return Profile(
        lines=_line_profiles(report, places, lines),
        tensors=[_tensor(t) for t in report["tensors"]],
        launches=[
            LaunchProfile(x["kernel"], tuple(x["grid"]), tuple(x["block"]), x["dynamic_shared"], x["stream"])
            for x in report["launches"]
        ],
        trace=_trace(report, trace_rows, places, lines),
        trace_block=trace_block,
        trace_warp=trace_warp,
        blocks=report["blocks"],
        counted_blocks=report["deep_blocks"],
        tensor_core_calls=report["tensor_core_calls"],
        shuffles=report["shuffles"],
        works=works_of(report["launches"]),
    )


def _tensor(t: dict) -> TensorProfile:
    return TensorProfile(t["name"], t["bytes"], min(t["bytes"], t["touched_sectors"] * SECTOR))


def _code(place: SourceLine | None, lines: dict[str, list[str]]) -> str:
    text = lines.get(place.file, []) if place else []
    return text[place.line - 1].strip() if place and 0 < place.line <= len(text) else ""


SUMMED = ("requests", "lanes", "bytes", "used_bytes", "sectors", "wavefronts", "ideal_wavefronts")


def _line_profiles(report: dict, places: dict[int, SourceLine], lines: dict[str, list[str]]) -> list[LineProfile]:
    groups: dict[tuple, dict] = {}
    for c in report["counters"]:
        place = places.get(c["pc"])
        key = (place.file if place else "", place.line if place else 0, c["shared"], c["access"], c["size"])
        total = groups.setdefault(key, dict.fromkeys((*SUMMED, "most_ways"), 0))
        for name in SUMMED:
            total[name] += c[name]
        total["most_ways"] = max(total["most_ways"], c["most_ways"])
    return [
        LineProfile(
            file,
            line,
            _code(SourceLine(file, line), lines),
            "shared" if shared else "global",
            OPERATION[access],
            size,
            **total,
        )
        for (file, line, shared, access, size), total in sorted(groups.items())
    ]


def _trace(report: dict, rows: list, places: dict[int, SourceLine], lines: dict[str, list[str]]) -> list[TraceStep]:
    steps: dict[int, list] = {}
    for row in rows:
        steps.setdefault(row[0], []).append(row)
    made = [_trace_step(step, group, report, places, lines) for step, group in sorted(steps.items())]
    for i, (a, b) in enumerate(pairwise(tuple(made))):
        if _is_swapped_copy(a, b):
            made[i : i + 2] = [replace(b, step=a.step), replace(a, step=b.step)]
    return made


def _is_swapped_copy(a: TraceStep, b: TraceStep) -> bool:
    """Compilers report the store of a vector copied in one statement (`y[i] = x[i]` of float4) before its load."""
    same = (a.line, a.lanes, a.bytes_per_lane) == (b.line, b.lanes, b.bytes_per_lane)
    return same and a.bytes_per_lane >= 8 and (a.operation, b.operation) == ("store", "load")


def _trace_step(
    step: int, group: list, report: dict, places: dict[int, SourceLine], lines: dict[str, list[str]]
) -> TraceStep:
    _, pc, _, size, shared, access, first = group[0]
    arrays = report["arrays"] if shared else report["tensors"]
    inside = [a for a in arrays if a["begin"] <= first < a["begin"] + a["bytes"]]
    array = inside[0] if inside else {"name": "?", "begin": 0, "item": size}
    begin = min(array["begin"], *(row[6] for row in group))  # lanes of one step may touch several arrays
    origin = begin // ORIGIN * ORIGIN
    item = array["item"] or size
    place = places.get(pc)
    return TraceStep(
        step=step,
        line=place.line if place else 0,
        source=_code(place, lines),
        space="shared" if shared else "global",
        operation=OPERATION[access],
        array=array["name"],
        bytes_per_lane=size,
        lanes=tuple(row[2] for row in group),
        elements=tuple((row[6] - array["begin"]) // item for row in group),
        addresses=tuple(row[6] - origin for row in group),
    )
