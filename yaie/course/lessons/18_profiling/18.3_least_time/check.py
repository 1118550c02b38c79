from __future__ import annotations

from yaie.course.expect import expect, given
from yaie.profiling import costs


def check() -> None:
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
