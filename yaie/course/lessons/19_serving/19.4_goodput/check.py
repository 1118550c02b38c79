from __future__ import annotations

from yaie.course.expect import expect, given
from yaie.profiling import latency
from yaie.profiling.latency import Waited

# requests as (due, times of the tokens, error); how many of them are good, and the seconds of the load.
# The limits are 0.5 and 0.125, and all times are sums of powers of two, so nothing is rounded.
CASES: tuple[tuple[list[tuple[float, list[float], str | None]], int, float], ...] = (
    ([(0, [0.25], None)], 1, 0.25),
    ([(0, [0.5], None)], 1, 0.5),
    ([(0, [0.75], None)], 0, 0.75),
    ([(0, [0.25, 0.375], None)], 1, 0.375),
    ([(0, [0.25, 0.5], None)], 0, 0.5),
    ([(0, [0.75, 0.8125], None)], 0, 0.8125),
    ([(0, [0.25, 0.25, 0.5], None)], 1, 0.5),
    ([(0, [0.25, 0.375, 0.5], None)], 1, 0.5),
    ([(0, [0.25, 0.25, 0.75], None)], 0, 0.75),
    ([(0, [0.75, 1.0], None)], 0, 1.0),
    ([(0, [0.25, 0.5], None), (0, [0.25] * 4, None)], 1, 0.5),
    ([(0, [0.25, 0.5, 0.75, 1.0], None), (0, [0.25], None)], 1, 1.0),
    ([(4, [4.25], None)], 1, 0.25),
    ([(0, [0.25], None), (2, [2.25, 2.375], None)], 2, 2.375),
    ([(0, [0.25], None), (1, [], "no memory")], 1, 0.25),
    ([(0, [0.25], None), (0, [0.125, 0.25], "no memory")], 1, 0.25),
    ([(0, [], "no memory"), (1, [1.25], None), (1, [2.0], None)], 1, 2.0),
    ([(0, [], "no memory"), (1, [], "no memory")], 0, 1.0),
)


def check() -> None:
    for requests, good, seconds in CASES:
        load = [Waited(due, token_times=times, error=error) for due, times, error in requests]
        told = "; ".join(
            f"due at {due}, tokens at {times or 'no time'}" + (f", failed ({error})" if error else "")
            for due, times, error in requests
        )
        with given(f"{told}: goodput(load, first=0.5, between=0.125)"):
            expect(latency.goodput(load, 0.5, 0.125), good / seconds, "goodput, in requests per second", tolerance=1e-9)
