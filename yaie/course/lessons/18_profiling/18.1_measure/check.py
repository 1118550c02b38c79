from __future__ import annotations

import gc
from collections.abc import Iterator

from yaie.course.expect import expect, expect_error, given, named
from yaie.profiling import timing

EACH = "Each run gets an input of its own, those that warm up, too."


class Device:
    """A device with a clock that only moves when somebody works, so every time is known beforehand.

    A run takes the next of `durations`. If the device is `eager`, a call returns when it is done; otherwise it returns
    at once and the work is done while somebody waits for it, as on a GPU.
    """

    def __init__(self, durations: list[float], *, eager: bool = True, first_input: object = "input 1") -> None:
        self.now, self.pending, self.eager = 0.0, 0.0, eager
        self.durations: Iterator[float] = iter(durations)
        self.num_runs = self.num_inputs = self.looks = 0
        self.first_input = first_input
        self.arguments: list[tuple] = []
        self.running = False
        self.collecting: list[bool] = []  # whether garbage might be collected, for each run and each wait for one

    def clock(self) -> float:
        self.looks += 1
        return self.now

    def begin(self, seconds: float) -> None:
        if self.eager:
            self.now += seconds
        else:
            self.pending += seconds

    def wait(self) -> None:
        if self.running:
            self.collecting.append(gc.isenabled())
        self.running = False
        self.now, self.pending = self.now + self.pending, 0.0

    def run(self, *arguments: object) -> None:
        self.num_runs += 1
        self.arguments.append(arguments)
        self.collecting.append(gc.isenabled())
        self.running = not self.eager
        self.begin(next(self.durations, 0.0))

    def prepare(self) -> object:
        """Takes 50 seconds of its own, and gives the device 20 seconds of work."""
        self.num_inputs += 1
        self.now += 50.0
        self.begin(20.0)
        return self.first_input if self.num_inputs == 1 else f"input {self.num_inputs}"


MEAN = (20, "This is the mean of the runs that count, which one slow run moves far.")
PART = (0.6, "This is the median, divided by the number of runs. Each run is timed alone.")
QUARTILES = "A quarter of the runs is faster than the lower quartile, and a quarter slower than the upper one."


def _expect_timing(measured: timing.Timing, median: float, q1: float, q3: float, repeats: int, note: str = "") -> None:
    expect(measured.median, median, "median, in seconds", tolerance=1e-9, note=note)
    expect((measured.q1, measured.q3), (q1, q3), "quartiles, in seconds", tolerance=1e-9, note=QUARTILES)
    expect(measured.repeats, repeats, "number of runs that count")


def check() -> None:
    device = Device([9, 4, 1, 2, 90, 3])
    with given("runs of 9, 4, 1, 2, 90 and 3 seconds: measure(run, repeats=5, warmup=1)"):
        measured = timing.measure(device.run, repeats=5, clock=device.clock)
        expect(device.looks > 0, True, "whether the time comes from `clock`")
        _expect_timing(measured, 3, 2, 4, 5, named(measured.median, [MEAN, PART]))
        expect(device.num_runs, 6, "number of runs, those to warm up among them")
        expect(device.arguments, [()] * 6, "arguments of `run` without a `setup`")
        expect(any(device.collecting[1:]), False, "whether Python may collect garbage while the clock runs")
        expect(gc.isenabled(), True, "whether Python may collect garbage afterwards")
    device = Device([7, 7, 7, 8, 4, 6])
    with given("runs of 7, 7, 7, 8, 4 and 6 seconds of 2 items: measure(run, repeats=3, warmup=3, items=2)"):
        measured = timing.measure(device.run, repeats=3, warmup=3, items=2, clock=device.clock)
        expect(device.num_runs, 6, "number of runs, those to warm up among them", note="A run does all of its items.")
        _expect_timing(measured, 3, 2.5, 3.5, 3)
    device = Device([5, 1, 2, 3], eager=False)
    with given("runs of 5, 1, 2 and 3 seconds on a device whose calls return at once: measure(..., repeats=3)"):
        measured = timing.measure(device.run, repeats=3, synchronize=device.wait, clock=device.clock)
        _expect_timing(measured, 2, 1.5, 2.5, 3)
        expect(any(device.collecting[2:]), False, "whether Python may collect garbage while the clock runs")
    for eager in (True, False):
        device = Device([5, 1, 2, 3], eager=eager)
        wait = None if eager else device.wait
        what = "" if eager else ", on a device whose calls return at once"
        with given(f"a setup of 70 seconds before runs of 5, 1, 2 and 3 seconds{what}: measure(..., repeats=3)"):
            measured = timing.measure(device.run, setup=device.prepare, repeats=3, synchronize=wait, clock=device.clock)
            _expect_timing(measured, 2, 1.5, 2.5, 3)
            inputs = [(f"input {number}",) for number in range(1, 5)]
            expect(device.arguments, inputs, "arguments of `run`, which `setup` returned", note=EACH)
    device = Device([1, 2, 5], first_input=None)
    with given(
        "runs of 1, 2 and 5 seconds of 4 items; the first input is None: measure(..., repeats=3, warmup=0, items=4)"
    ):
        measured = timing.measure(
            device.run, setup=device.prepare, repeats=3, warmup=0, items=4, synchronize=device.wait, clock=device.clock
        )
        _expect_timing(measured, 0.5, 0.375, 0.875, 3)
        expect(
            device.arguments,
            [(None,), ("input 2",), ("input 3",)],
            "arguments of `run`, which `setup` returned",
            note=EACH,
        )
    device = Device([9, 1, 2])
    with given("runs of 9, 1 and 2 seconds: measure(run, repeats=2)"):
        _expect_timing(timing.measure(device.run, repeats=2, clock=device.clock), 1.5, 1.25, 1.75, 2)
    with given("measure(run, repeats=1)"):
        call = lambda: timing.measure(Device([1, 1]).run, repeats=1)  # noqa: E731
        expect_error(call, ValueError, "answer", note="One run has no spread.")
