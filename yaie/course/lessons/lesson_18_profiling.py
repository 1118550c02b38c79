"""Lesson 18: times that can be trusted, and the time that a machine needs at least."""

from __future__ import annotations

import gc
from collections.abc import Iterator

from yaie.bench import costs, harness
from yaie.course.expect import expect, expect_error, given
from yaie.course.registry import Lesson, Mutant

LESSON = Lesson(18, "profiling", "Profiling and the roofline", minutes=70)


class Device:
    """A device with a clock that only moves when somebody works, so every time is known beforehand.

    A run takes the next of `durations`. If the device is `eager`, a call returns when it is done; otherwise it returns
    at once and the work is done while somebody waits for it, as on a GPU.
    """

    def __init__(self, durations: list[float], *, eager: bool = True) -> None:
        self.now, self.pending, self.eager = 0.0, 0.0, eager
        self.durations: Iterator[float] = iter(durations)
        self.num_runs = 0
        self.arguments: list[tuple] = []
        self.saw_garbage_collection = False

    def clock(self) -> float:
        return self.now

    def begin(self, seconds: float) -> None:
        if self.eager:
            self.now += seconds
        else:
            self.pending += seconds

    def wait(self) -> None:
        self.now, self.pending = self.now + self.pending, 0.0

    def run(self, *arguments: object) -> None:
        self.num_runs += 1
        self.arguments.append(arguments)
        self.saw_garbage_collection |= gc.isenabled()
        self.begin(next(self.durations, 0.0))

    def prepare(self) -> str:
        """Takes 50 seconds of its own, and gives the device 20 seconds of work."""
        self.now += 50.0
        self.begin(20.0)
        return "input"


def _expect_timing(timing: harness.Timing, median: float, q1: float, q3: float, repeats: int) -> None:
    expect(timing.median, median, "median, in seconds", tolerance=1e-9)
    expect((timing.q1, timing.q3), (q1, q3), "quartiles, in seconds", tolerance=1e-9)
    expect(timing.repeats, repeats, "number of runs that count")


@LESSON.exercise(
    "18.1",
    title="A time that can be trusted",
    target="yaie.bench.harness:measure",
    minutes=20,
    task="Time a function: runs to warm up that do not count, then runs that do, each timed alone. The inputs are made "
    "off the clock, and the device is waited for on both sides. Runs of 9, 4, 1, 2, 90 and 3 seconds, the first to "
    "warm up, have the median 3 and the quartiles 2 and 4.",
    hints=(
        "One loop over all runs, those to warm up too. Keep a list of the times, and leave the first `warmup` out at "
        "the end.",
        "In the loop: call `setup`, if there is one, before the clock. Then wait for the device, read the clock, run, "
        "wait for the device, read the clock. Divide by `items`.",
        "for _ in range(warmup + repeats): arguments = (setup(),) if setup else (); with garbage_waits(): synchronize; "
        "start = clock(); run(*arguments); synchronize; seconds.append((clock() - start) / items). At the end "
        "timing_of(seconds[warmup:]). `synchronize` may be None.",
    ),
    mutants=(
        Mutant(
            "timing_of(seconds[warmup:])",
            "timing_of(seconds)",
            "The runs to warm up are counted, too. They are there to be slow, so that the others are not.",
        ),
        Mutant(
            "            run(*arguments)\n            wait()\n",
            "            run(*arguments)\n",
            "The clock stops when the call returns. A GPU works on after that; wait for it (`synchronize`) before you "
            "read the clock.",
        ),
        Mutant(
            "            wait()\n            start = clock()\n",
            "            start = clock()\n",
            "The clock starts while the device still works on what `setup` began. Wait for it first.",
        ),
        Mutant(
            "(clock() - start) / items",
            "clock() - start",
            "This is the time of a whole run. A run does `items` things, and asked for is the time of one.",
        ),
        Mutant(
            "run(*arguments)",
            "run(*(() if setup is None else (setup(),)))",
            "`setup` runs while the clock does, so the making of inputs is counted. Call it before.",
        ),
        Mutant(
            "with garbage_waits():",
            "if True:",
            "Python may collect garbage while the clock runs, and that would be counted as the work of `run`. Put the "
            "timed part into `with garbage_waits():`.",
        ),
        Mutant(
            "return timing_of(seconds[warmup:])",
            "return Timing(sum(seconds[warmup:]) / repeats, min(seconds[warmup:]), max(seconds[warmup:]), repeats)",
            "This is the mean with the extremes. One run that was disturbed moves them far; the median and the "
            "quartiles (`timing_of`) hardly move.",
        ),
    ),
)
def check_measure() -> None:
    device = Device([9, 4, 1, 2, 90, 3])
    with given("runs of 9, 4, 1, 2, 90 and 3 seconds: measure(run, repeats=5, warmup=1)"):
        _expect_timing(harness.measure(device.run, repeats=5, clock=device.clock), 3, 2, 4, 5)
        expect(device.num_runs, 6, "number of runs, those to warm up among them")
        expect(device.arguments, [()] * 6, "arguments of `run` without a `setup`")
        expect(device.saw_garbage_collection, False, "garbage collection may start while the clock runs")
    device = Device([7, 7, 7, 8, 4, 6])
    with given("runs of 7, 7, 7, 8, 4 and 6 seconds of 2 items: measure(run, repeats=3, warmup=3, items=2)"):
        timing = harness.measure(device.run, repeats=3, warmup=3, items=2, clock=device.clock)
        _expect_timing(timing, 3, 2.5, 3.5, 3)
    device = Device([5, 1, 2, 3], eager=False)
    with given("runs of 5, 1, 2 and 3 seconds on a device whose calls return at once: measure(..., repeats=3)"):
        timing = harness.measure(device.run, repeats=3, synchronize=device.wait, clock=device.clock)
        _expect_timing(timing, 2, 1.5, 2.5, 3)
    for eager in (True, False):
        device = Device([5, 1, 2, 3], eager=eager)
        wait = None if eager else device.wait
        what = "" if eager else ", on a device whose calls return at once"
        with given(f"a setup of 70 seconds before runs of 5, 1, 2 and 3 seconds{what}: measure(..., repeats=3)"):
            timing = harness.measure(device.run, setup=device.prepare, repeats=3, synchronize=wait, clock=device.clock)
            _expect_timing(timing, 2, 1.5, 2.5, 3)
            expect(device.arguments, [("input",)] * 4, "arguments of `run`, which `setup` returned")
    with given("measure(run, repeats=1)"):
        expect_error(lambda: harness.measure(Device([1, 1]).run, repeats=1), ValueError, "one run has no spread")


@LESSON.exercise(
    "18.2",
    title="Count the bytes and the FLOPs of a decode",
    target="yaie.bench.costs:decode_cost",
    minutes=15,
    task="Count what attention of one new token per sequence must move and compute, from its shapes. 1 sequence with "
    "10 cached tokens, 4 query heads on 2 KV heads of 8 numbers of 2 bytes: 640 bytes of keys and values, 128 of query "
    "and output, and 1,280 FLOPs.",
    hints=(
        "Count numbers first, and multiply by `itemsize` at the end. Which tensors are there, and of what shapes?",
        "Keys and values have `num_kv_heads` heads, query and output `num_heads`. Every query head does the work.",
        "cache = 2 * num_seqs * context_len * num_kv_heads * head_dim; query and output: 2 * num_seqs * num_heads * "
        "head_dim; bytes = (both) * itemsize; flops = 2 * 2 * num_seqs * context_len * num_heads * head_dim.",
    ),
    mutants=(
        Mutant(
            "cache = 2 * num_seqs * context_len * num_kv_heads * head_dim",
            "cache = 2 * num_seqs * context_len * num_heads * head_dim",
            "The cache has `num_kv_heads` heads. Query heads that share one need not read it again: that is what "
            "grouped heads are for.",
        ),
        Mutant(
            "cache = 2 * num_seqs", "cache = num_seqs", "Keys and values are two tensors of this size. You counted one."
        ),
        Mutant(
            "flops = 2 * 2 * num_seqs",
            "flops = 2 * num_seqs",
            "This is the work for the scores alone, or that of one operation instead of two. Scores and the sum of the "
            "values each take a multiplication and an addition per number.",
        ),
        Mutant(
            "* context_len * num_heads * head_dim\n    return",
            "* context_len * num_kv_heads * head_dim\n    return",
            "Query heads that share keys and values still compute, each with its own query: count `num_heads`.",
        ),
        Mutant(
            "(cache + query_and_output) * itemsize",
            "(cache + query_and_output)",
            "These are numbers, not bytes. Each takes `itemsize` bytes.",
        ),
        Mutant(
            "(cache + query_and_output) * itemsize",
            "cache * itemsize",
            "The query is read and the output is written, too. With short contexts that shows.",
        ),
    ),
)
def check_decode_cost() -> None:
    names = ("num_seqs", "context_len", "num_heads", "num_kv_heads", "head_dim", "itemsize")
    for shape in ((1, 1, 1, 1, 1, 1), (1, 10, 4, 2, 8, 2), (3, 7, 8, 8, 16, 4), (64, 4096, 32, 8, 128, 2)):
        num_seqs, context_len, num_heads, num_kv_heads, head_dim, itemsize = shape
        with given(f"decode_cost({', '.join(f'{n}={v}' for n, v in zip(names, shape, strict=True))})"):
            cost = costs.decode_cost(*shape)
            numbers = [num_seqs * context_len * num_kv_heads * head_dim] * 2 + [num_seqs * num_heads * head_dim] * 2
            expect(cost.bytes, sum(numbers) * itemsize, "bytes (keys, values, query, output)")
            expect(cost.flops, num_seqs * num_heads * context_len * 4 * head_dim, "FLOPs (scores and sum of values)")


@LESSON.exercise(
    "18.3",
    title="The least time on a machine",
    target="yaie.bench.costs:least_time",
    minutes=5,
    task="Predict: how long does an operation take at least, if a machine moves `machine.bandwidth` bytes and computes "
    "`machine.peak` FLOPs in a second, both at the same time? 100 bytes and 500 FLOPs at 100 bytes/s and 1,000 FLOP/s: "
    "1 s.",
    hints=(
        "Two times: one to move the bytes, one to compute.",
        "They overlap. The operation is done when the slower of the two is.",
        "max(cost.bytes / machine.bandwidth, cost.flops / machine.peak)",
    ),
    mutants=(
        Mutant(
            "max(cost.bytes / machine.bandwidth, cost.flops / machine.peak)",
            "cost.bytes / machine.bandwidth + cost.flops / machine.peak",
            "You added the two times up. A machine computes on one part while it moves the next: the longer counts.",
        ),
        Mutant("max(", "min(", "This is the shorter of the two times. The operation is not done before both are."),
        Mutant(
            "max(cost.bytes / machine.bandwidth, cost.flops / machine.peak)",
            "cost.bytes / machine.bandwidth",
            "Only the bytes were counted. An operation with many FLOPs per byte waits for the arithmetic.",
        ),
        Mutant(
            "max(cost.bytes / machine.bandwidth, cost.flops / machine.peak)",
            "cost.flops / machine.peak",
            "Only the FLOPs were counted. An operation with few FLOPs per byte waits for the memory.",
        ),
    ),
)
def check_least_time() -> None:
    machine = costs.Machine(bandwidth=100.0, peak=1000.0)
    few, many = costs.Cost(bytes=100, flops=500), costs.Cost(bytes=10, flops=500)
    with given(
        "Machine(bandwidth=100, peak=1000); least_time of Cost(bytes=100, flops=500), Cost(bytes=10, flops=500)"
    ):
        expect([costs.least_time(cost, machine) for cost in (few, many)], [1.0, 0.5], "seconds", tolerance=1e-9)
    for cost, seconds in (
        (costs.Cost(100, 0), 1.0),
        (costs.Cost(50, 500), 0.5),
        (costs.Cost(2**30, 2**32), 2**30 / 100),
    ):
        with given(f"least_time(Cost(bytes={cost.bytes}, flops={cost.flops}), Machine(bandwidth=100, peak=1000))"):
            expect(costs.least_time(cost, machine), seconds, "seconds", tolerance=1e-9)
