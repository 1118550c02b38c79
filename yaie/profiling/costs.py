"""What an operation must move and compute, and the time that a machine needs for that at least: the roofline.

Bytes are those that must travel between the chip and its memory if every value travels once. A multiplication and an
addition are two FLOPs. Both are counted from shapes, before anything runs, so a prediction can be made first and the
measurement be held against it.
"""

from __future__ import annotations

from typing import NamedTuple


class Cost(NamedTuple):
    """`bytes` that must move, `flops` that must be computed."""

    bytes: int
    flops: int

    @property
    def intensity(self) -> float:
        """FLOPs for each byte moved."""
        return self.flops / self.bytes


class Machine(NamedTuple):
    """What a machine was measured to do at best: `bandwidth` in bytes/s, `peak` in FLOP/s."""

    bandwidth: float
    peak: float


def matmul_cost(m: int, n: int, k: int, itemsize: int) -> Cost:
    """`[m, k] @ [k, n]`: both factors are read once and the product is written once."""
    return Cost(bytes=(m * k + k * n + m * n) * itemsize, flops=2 * m * n * k)


def decode_cost(
    num_seqs: int, context_len: int, num_heads: int, num_kv_heads: int, head_dim: int, itemsize: int
) -> Cost:
    """Attention of one new token in each of `num_seqs` sequences over `context_len` cached tokens.

    Every key and value of the cache is read once, however many query heads share it; the query is read and the output
    is written. For each query head and each cached token `head_dim` products and sums give the score, and as many weigh
    the value. The few operations of the softmax are left out.

    Args:
        num_heads: heads of the query and of the output, `[num_seqs, num_heads, head_dim]`.
        num_kv_heads: heads of keys and values, `[num_seqs, context_len, num_kv_heads, head_dim]` each.
        itemsize: bytes of a number.
    """
    cache = 2 * num_seqs * context_len * num_kv_heads * head_dim
    query_and_output = 2 * num_seqs * num_heads * head_dim
    flops = 2 * 2 * num_seqs * context_len * num_heads * head_dim
    return Cost(bytes=(cache + query_and_output) * itemsize, flops=flops)


def prefill_cost(
    num_seqs: int, q_len: int, num_heads: int, num_kv_heads: int, head_dim: int, itemsize: int, *, causal: bool
) -> Cost:
    """Attention of `q_len` tokens over themselves. With a causal mask about half of the scores are computed."""
    keys_and_values = 2 * num_seqs * q_len * num_kv_heads * head_dim
    query_and_output = 2 * num_seqs * q_len * num_heads * head_dim
    scores = q_len * (q_len + 1) // 2 if causal else q_len * q_len
    flops = 2 * 2 * num_seqs * num_heads * scores * head_dim
    return Cost(bytes=(keys_and_values + query_and_output) * itemsize, flops=flops)


def least_time(cost: Cost, machine: Machine) -> float:
    """Seconds that an operation takes at least on a machine: moving and computing go on at the same time."""
    return max(cost.bytes / machine.bandwidth, cost.flops / machine.peak)


def bound_by(cost: Cost, machine: Machine) -> str:
    """ "memory" or "compute": which of the two takes longer."""
    return "memory" if cost.bytes / machine.bandwidth >= cost.flops / machine.peak else "compute"
