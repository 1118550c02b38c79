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


def test_every_size_counts_as_often_as_it_should():
    """Would catch a factor that is one in the example: each size is another prime here, and twice as much of it."""
    sizes = {"num_seqs": 3, "num_heads": 10, "num_kv_heads": 5, "head_dim": 7, "itemsize": 2}
    assert costs.decode_cost(context_len=11, **sizes) == (
        (2 * 3 * 11 * 5 * 7 + 2 * 3 * 10 * 7) * 2,
        4 * 3 * 11 * 10 * 7,
    )
    for causal, scores in ((False, 11 * 11), (True, 11 * 12 / 2)):
        moved = (2 * 3 * 11 * 5 * 7 + 2 * 3 * 11 * 10 * 7) * 2
        assert costs.prefill_cost(q_len=11, causal=causal, **sizes) == (moved, 4 * 3 * 10 * scores * 7)


def test_at_the_ridge_memory_is_named():
    """Would catch another answer where moving and computing take equally long, and where there is nothing to do."""
    machine = costs.Machine(bandwidth=100, peak=1000)
    assert costs.bound_by(costs.Cost(bytes=10, flops=100), machine) == "memory"
    assert costs.bound_by(costs.Cost(bytes=0, flops=0), machine) == "memory"
