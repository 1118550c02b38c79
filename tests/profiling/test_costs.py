"""Costs: bytes and FLOPs as one counts them on paper, and the roofline."""

import pytest

from yaie.profiling import costs


def test_costs_are_those_of_paper_and_pencil():
    """Would catch keys and values counted once per query head, and a causal mask that costs as much as none."""
    assert costs.matmul_cost(2, 3, 4, 2) == (2 * (8 + 12 + 6), 48)
    # 2 sequences, 10 tokens, 4 query heads on 2 KV heads of 8, in 2 bytes
    decode = costs.decode_cost(2, 10, 4, 2, 8, 2)
    assert decode.bytes == 2 * (2 * 10 * 2 * 8 * 2) + 2 * (2 * 4 * 8 * 2)
    assert decode.flops == 2 * 10 * 4 * (2 * 8 + 2 * 8)
    whole, causal = (costs.prefill_cost(1, 100, 4, 4, 8, 2, causal=c) for c in (False, True))
    assert whole.bytes == causal.bytes == 4 * 100 * 4 * 8 * 2
    assert causal.flops / whole.flops == pytest.approx(0.505)


def test_the_slower_of_moving_and_computing_counts():
    """Would catch a sum of the two times, which overlap."""
    machine = costs.Machine(bandwidth=100, peak=1000)
    assert costs.least_time(costs.Cost(bytes=100, flops=500), machine) == 1.0
    assert costs.least_time(costs.Cost(bytes=10, flops=500), machine) == 0.5
    assert costs.bound_by(costs.Cost(bytes=100, flops=500), machine) == "memory"
    assert costs.bound_by(costs.Cost(bytes=10, flops=500), machine) == "compute"
    assert costs.Cost(bytes=10, flops=500).intensity == 50
