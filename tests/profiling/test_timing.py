"""Timing: what is counted, and what is not."""

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
