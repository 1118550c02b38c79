"""Timing: what is counted, and what is not."""

import gc

import pytest

from yaie.profiling import timing


class FakeClock:
    """A clock that only moves when work is done."""

    def __init__(self, durations):
        self.now, self.durations, self.log = 0.0, iter(durations), []

    def __call__(self):
        self.log.append("clock")
        return self.now

    def work(self, *arguments):
        self.log.append(f"run{arguments if arguments else ''}")
        self.now += next(self.durations)


def test_warm_up_is_not_counted_and_the_median_is():
    """Would catch a mean (one slow run moves it) and the first run, which compiles and fills caches."""
    clock = FakeClock([100, 100, 4, 1, 2, 90, 3])
    measured = timing.measure(clock.work, repeats=5, warmup=2, clock=clock)
    assert (measured.median, measured.q1, measured.q3, measured.repeats) == (3, 2, 4, 5)
    assert float(measured) == 3


def test_set_up_is_not_counted_and_the_device_is_waited_for():
    """Would catch a clock that stops while the GPU still works, and inputs that are made on the clock."""
    clock = FakeClock([1, 2, 3])

    def prepare():
        clock.now += 50
        return "x"

    measured = timing.measure(
        clock.work, setup=prepare, items=2, repeats=2, synchronize=lambda: clock.log.append("wait"), clock=clock
    )
    assert clock.log == ["wait", "clock", "run('x',)", "wait", "clock"] * 3
    assert measured.median == 2.5 / 2
    with pytest.raises(ValueError, match="at least 2"):
        timing.measure(clock.work, repeats=1)


def test_garbage_waits_while_the_clock_runs():
    """Would catch a collection that is counted as work, and one that is off, or on, ever after."""
    seen = []
    for before in (True, False):
        (gc.enable if before else gc.disable)()
        try:
            timing.measure(lambda: seen.append(gc.isenabled()))
            assert gc.isenabled() == before
        finally:
            gc.enable()
    assert seen == [False] * 2 * (7 + 1)  # seven runs that count, after one that does not


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(1, "1 s"), (0.999, "999 ms"), (1e-3, "1 ms"), (1e-6, "1 us"), (0.9e-6, "900 ns"), (0, "0 ns"), (90, "90 s")],
)
def test_a_time_is_shown_in_the_unit_that_suits_it(seconds, shown):
    """Would catch 1000 ms, and 0.001 s, on either side of a whole unit."""
    value, unit = shown.split()
    assert str(timing.Timing(seconds, seconds, seconds, 2)) == f"{value} {unit} ({value}-{value})"
