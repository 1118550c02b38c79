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
    for bandwidth, peak, bytes, flops, seconds in (
        (100.0, 1000.0, 100, 0, 1.0),
        (100.0, 1000.0, 0, 500, 0.5),
        (100.0, 1000.0, 50, 500, 0.5),
        (100.0, 1000.0, 2**30, 2**32, 2**30 / 100),
        (3e12, 9e14, 2**20, 2**25, 2**20 / 3e12),
        (3e12, 9e14, 2**10, 2**30, 2**30 / 9e14),
    ):
        cost, machine = costs.Cost(bytes, flops), costs.Machine(bandwidth, peak)
        with given(f"least_time(Cost(bytes={bytes}, flops={flops}), Machine(bandwidth={bandwidth:g}, peak={peak:g}))"):
            expect(costs.least_time(cost, machine), seconds, "seconds", tolerance=1e-9 * seconds)
