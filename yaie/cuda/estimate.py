"""How long a kernel takes on a card, estimated from what the emulator counts in a few of its blocks.

How it counts: the launch is made at its real size, on tensors of that size, and the emulator runs a few of its thread
blocks, spread over the grid. What they did, times blocks / counted blocks, is what the launch does; of a tensor no more
is read (or written) for the first time than the tensor has. Kernels whose blocks differ much are estimated badly.

How it estimates: a launch has limits, each of which alone would take some time (`limits`): what is moved by memory, by
L2 and by shared memory at their rates, tensor cores at theirs, atomics on one address one after the other, and waiting:
the busiest warp of a block has a few loads under way at a time, or as many copies (cp.async) as it does not wait for,
and blocks come in waves. Which loads are from memory, L2 and L1 is told by a rough model of L1
(`emulated/runtime/counters.cpp`). Limits overlap, so the time is a little more than the longest (`together`). Two
things are not counted, and where they bind an estimate is too short: arithmetic outside of tensor cores, and loads that
need the one before, as in a walk through a tree.

The constants, with the source of each, and the errors on kernels that they were not fitted to are in `h100.json`, which
`python -m yaie.bench estimate --save` makes from the recorded times.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from yaie.profiling import occupancy

from .card.build import KernelUsage, registers_of

SECTOR = 32  # bytes
FOLDER = Path(__file__).parent
CARDS = {"h100": "H100"}


@dataclass(frozen=True)
class Work:
    """What a launch does, all blocks together; `warp`: the busiest warp of a block, on average.

    resident: blocks that a multiprocessor holds.
    first_read, first_written: bytes that the call has not read (written) before.
    loaded: bytes of loads; missed: those of them that a block does not find in its share of L1; again: those of them
        that it had loaded before; touched: bytes that one block loads, each once.
    written: bytes of stores and atomics; partial: of sectors that a store does not fill.
    wavefronts: of shared memory; queued: lanes behind another one at an atomic there.
    on_one_address: atomics of all lanes on the address of global memory that has the most.
    hopper: its file has TMA, wgmma or mbarriers.
    """

    kernel: str
    blocks: int
    threads: int
    resident: int
    first_read: float
    first_written: float
    loaded: float
    missed: float
    again: float
    touched: float
    written: float
    partial: float
    wavefronts: float
    shuffles: float
    products: float
    on_one_address: float
    queued: float
    barriers: float
    hopper: bool
    warp: Mapping[str, float]


def work_of(launch: Mapping[str, Any], registers: int = 0) -> Work:
    """From the report of a launch whose blocks were sampled. registers: of a thread; 0 where no compiler says it."""
    counts, (x, y, z), block = launch["counts"], launch["grid"], launch["block"]
    blocks, counted, threads = x * y * z, counts["blocks"], math.prod(block)
    times = blocks / counted
    resident = occupancy.resident_blocks(threads, max(registers, 1), counts["shared_bytes"])

    def first(column: int) -> float:
        return sum(min(each[0], each[column] * SECTOR * times) for each in counts["first_touched"])

    return Work(
        kernel=launch["kernel"],
        blocks=blocks,
        threads=threads,
        resident=max(resident, 1),
        first_read=first(1),
        first_written=first(2),
        loaded=counts["read"] * SECTOR * times,
        missed=counts["missed"] * SECTOR * times,
        again=(counts["missed"] - counts["distinct"]) * SECTOR * times,
        touched=counts["distinct"] * SECTOR / counted,
        written=(counts["written"] + counts["updated"]) * SECTOR * times,
        partial=counts["partial"] * SECTOR * times,
        wavefronts=counts["wavefronts"] * times,
        shuffles=counts["all"]["shuffles"] * times,
        products=counts["all"]["products"] * times,
        on_one_address=counts["on_one_address"] * times,
        queued=counts["queued"] * times,
        barriers=counts["barriers"] / counted,
        hopper=bool(counts["hopper"]),
        warp={name: count / counted for name, count in counts["busiest"].items()},
    )


def works_of(launches: Sequence[Mapping[str, Any]], usages: Sequence[KernelUsage] = ()) -> list[Work]:
    """Of a call's launches. usages: what the compiler says that the kernels of the file need."""
    found = []
    for launch in launches:
        static_shared = launch["counts"]["shared_bytes"] - launch["dynamic_shared"]
        found.append(work_of(launch, registers_of(launch["kernel"], static_shared, usages)))
    return found


def from_memory(work: Work, card: Mapping[str, float]) -> float:
    """Bytes that memory must deliver: all that is new, and what is loaded again after L2 has lost it.

    L2 has lost it where what the resident blocks load, those that share it counted once, does not fit.
    """
    sharing = max(1.0, work.blocks * work.touched / max(work.first_read, 1.0))
    at_a_time = min(work.blocks, work.resident * card["multiprocessors"]) * work.touched / sharing
    return work.first_read + (work.again if at_a_time > card["l2_bytes"] else 0.0)


def limits(work: Work, card: Mapping[str, float]) -> dict[str, float]:
    """The seconds that each limit alone would take."""
    read, clock = from_memory(work, card), card["clock"]
    most_blocks = math.ceil(work.blocks / card["multiprocessors"])  # of a multiprocessor
    share = most_blocks / work.blocks
    moved = (read + work.first_written) / card["memory_rate"]
    reading = "reading memory" if read >= work.first_written else "writing memory"
    # A multiprocessor moves one wavefront a cycle, of 128 bytes, between its warps and L1 or shared memory.
    wavefronts = work.wavefronts + work.shuffles + (work.loaded + work.written) / 128
    return {
        reading: moved,
        "L2": (work.missed + work.written - work.partial) / card["l2_rate"] + work.partial / card["partial_rate"],
        "shared memory and L1": wavefronts * share / clock,
        "tensor cores": work.products * share / (card["products_per_cycle"] * clock),
        "atomics on one address": work.on_one_address * card["atomic_seconds"],
        "waiting": waiting(work, read, card),
    }


def mean_latency(far: float, near: float, card: Mapping[str, float]) -> float:
    """Of loads that are, in these shares, from memory, from L2, and for the rest from L1."""
    return far * card["memory_latency"] + near * card["l2_latency"] + (1 - far - near) * card["l1_latency"]


def waiting(work: Work, read: float, card: Mapping[str, float]) -> float:
    """The waves of blocks, each as long as what its busiest warp has to wait for."""
    loaded = max(work.loaded, 1.0)
    far, near = min(read, work.missed) / loaded, (work.missed - min(read, work.missed)) / loaded
    # A warp has a few loads under way and waits for the slowest of them; before it meets others, for all. Of copies
    # that go around the registers there may be any number: it waits where it says so.
    loads = work.warp["loads"] + work.warp["atomics"]
    rounds = max(work.warp["rounds"], (loads - work.warp["copies"]) / card["loads_under_way"], work.warp["atomics"])
    rounds += work.warp["copy_rounds"]
    from_far = min(1.0, far * loads / max(rounds, 1.0))
    from_near = min(1.0 - from_far, near * loads / max(rounds, 1.0))
    wave = card["block_seconds"] + rounds * mean_latency(from_far, from_near, card)
    # Each shuffle of a sum waits for the one before. Loads of shared memory and products do not, as a rule: their rates
    # are limits of their own.
    wave += work.warp["shuffles"] * card["shared_latency"] + work.barriers * card["barrier_seconds"]
    return math.ceil(work.blocks / (work.resident * card["multiprocessors"])) * wave


def together(alone: Sequence[float], sharpness: float) -> float:
    """The time of limits that overlap: the longest, and more where others are nearly as long."""
    longest = max(alone)
    return longest * sum((each / longest) ** sharpness for each in alone) ** (1 / sharpness)


def seconds_of(works: Sequence[Work], card: Mapping[str, float]) -> float:
    """The time of a call's launches, one after the other."""
    return sum(card["launch_seconds"] + together([*limits(w, card).values()], card["sharpness"]) for w in works)


# ---- what is told of it


class NotTried(RuntimeError):
    """A kernel does what no recorded kernel does, so that no error of its estimate is known; the message says what."""


@dataclass(frozen=True)
class Estimate:
    """Seconds that a call would take on a card.

    limits: the seconds that each limit alone would take, the longest first. error: the mean error of the recorded
    kernels of its kind (`kind_of`) that the constants were not fitted to, each at all its sizes counted once; tested:
    how many.
    outside: in what it goes beyond what was tried, if it does: then the error is not known.
    """

    card: str
    seconds: float
    limits: Mapping[str, float]
    error: float
    tested: int
    outside: tuple[str, ...]

    @property
    def bound_by(self) -> str:
        return next(iter(self.limits))

    @property
    def share(self) -> float:
        """The longest limit's part of the time."""
        return self.limits[self.bound_by] / self.seconds

    def __str__(self) -> str:
        kernels = f"{self.tested} tested {'kernel' if self.tested == 1 else 'kernels'}"
        error = f"mean error of {kernels}: {self.error:.0%}" if self.tested and not self.outside else "error unknown"
        lines = [
            f"estimated for an {self.card}: {in_words(self.seconds)} ({error}), "
            f"bound by {self.bound_by}: {self.share:.0%} of it"
        ]
        return "\n".join([*lines, *(f"  beyond what was tried: {each}" for each in self.outside)])


def in_words(seconds: float) -> str:
    return f"{seconds * 1e3:,.2f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:,.1f} us"


@cache
def card_facts(card: str) -> dict[str, Any]:
    """What the file of a card says. ValueError: there is none."""
    if card not in CARDS:
        raise ValueError(f"times are estimated for {', '.join(map(repr, CARDS))}, not for {card!r}")
    return json.loads((FOLDER / f"{card}.json").read_text())


def constants(facts: Mapping[str, Any]) -> dict[str, float]:
    return {name: each["value"] for name, each in facts["constants"].items()}


def longest_first(works: Sequence[Work], card: Mapping[str, float]) -> dict[str, float]:
    """The limits of all launches of a call together."""
    total: dict[str, float] = {}
    for work in works:
        for name, seconds in limits(work, card).items():
            total[name] = total.get(name, 0.0) + seconds
    return dict(sorted(total.items(), key=lambda each: -each[1]))


def kind_of(works: Sequence[Work], bound_by: str) -> str:
    """Estimates of a kind share an error: by the longest limit, and apart where tensor cores compute."""
    return f"{bound_by}, with tensor cores" if any(work.products for work in works) else bound_by


def estimate(works: Sequence[Work], card: str = "h100") -> Estimate:
    """The time of a call on a card. NotTried: a launch does what no recorded kernel does."""
    facts = card_facts(card)
    if not works:
        raise ValueError("the call launched no kernel, so there is nothing to estimate")
    known, tried = constants(facts), facts["tried"]
    for work in works:
        if work.queued or work.hopper:
            what = "atomics in shared memory at which lanes queue" if work.queued else "TMA, wgmma or mbarriers"
            raise NotTried(f"{work.kernel} has {what}: no such kernel was tried, so its time is not estimated")
    alone = longest_first(works, known)
    seconds, bound_by = seconds_of(works, known), next(iter(alone))
    kind = kind_of(works, bound_by)
    error = facts["errors"].get(kind, {"mean": math.nan, "kernels": 0})
    outside = []
    if not error["kernels"]:
        outside.append(f"no kernel bound by {kind} was tested")
    shortest, longest = tried["seconds"]
    if not shortest <= seconds <= longest:
        outside.append(f"the recorded kernels took {in_words(shortest)} to {in_words(longest)}")
    return Estimate(CARDS[card], seconds, alone, error["mean"], error["kernels"], tuple(outside))
