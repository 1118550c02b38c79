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

    Bytes: every key and every value of the cache is read once, however many query heads share it; the query is read and
    the output is written. FLOPs: for each query head and each cached token, a dot product of head_dim numbers gives the
    score, and head_dim numbers of the value are weighted with it and added up. A multiplication with an addition counts
    two. The few operations of the softmax are left out.

    Args:
        num_seqs, context_len: sequences, and cached tokens of each.
        num_heads: heads of the query and of the output, `[num_seqs, num_heads, head_dim]`.
        num_kv_heads: heads of keys and values, `[num_seqs, context_len, num_kv_heads, head_dim]` each.
        head_dim: numbers of a head.
        itemsize: bytes of a number.

    Example: 1 sequence, 10 tokens, 4 heads on 2 KV heads of 8 numbers of 2 bytes. Keys and values: 2 * 10 * 2 * 8 * 2 =
        640 bytes, query and output: 2 * 4 * 8 * 2 = 128 bytes. 4 heads * 10 tokens * (16 + 16) = 1,280 FLOPs.
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
    """Seconds that an operation takes at least on a machine: the roofline.

    Moving the bytes and computing go on at the same time, so the longer of the two counts.

    Example: 100 bytes and 500 FLOPs, on a machine with 100 bytes/s and 1,000 FLOP/s: moving takes 1 s and computing
        0.5 s, so the least time is 1 s.
    """
    return max(cost.bytes / machine.bandwidth, cost.flops / machine.peak)


def bound_by(cost: Cost, machine: Machine) -> str:
    """ "memory" or "compute": which of the two takes longer."""
    return "memory" if cost.bytes / machine.bandwidth >= cost.flops / machine.peak else "compute"
