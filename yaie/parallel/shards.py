"""Which part of a decoder belongs to which rank.

A weight `[num_outputs, num_inputs]` can be split in two ways:

    by outputs   each rank computes some of the outputs, from all inputs:   nothing to do but to have them in parts
    by inputs    each rank has some of the inputs and computes a part of every output:   the parts must be summed

One after the other they need one sum. So query, key, value, gate and up are split by outputs (whole heads, so attention
needs nobody else), and the projections after them, o and down, by inputs: two sums a layer. The vocabulary is split
too: a rank looks up and scores its own tokens. In the papers, where weights are transposed, the first is the split by
columns and the second by rows.

Source: Shoeybi et al., "Megatron-LM: Training Multi-Billion Parameter Language Models Using Model Parallelism" (2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from yaie.kernels.checks import integer, require

BY_OUTPUTS = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "embed_tokens", "lm_head")
BY_INPUTS = ("o_proj", "down_proj")


def local_config(config: Any, size: int) -> Any:
    """The shape of what one of `size` ranks has of a decoder of shape `config` (`yaie.models.config.ModelConfig`).

    KV heads that are fewer than ranks are held by several ranks each. The vocabulary is padded to a multiple of `size`.

    ValueError: the heads or the MLP cannot be split into so many equal parts.
    """
    integer("tensor_parallel", size, 1)
    if size == 1:
        return config
    for name in ("num_heads", "intermediate_size"):
        count = getattr(config, name)
        require(count % size == 0, f"tensor_parallel must divide the model's {name}={count}", size)
    kv_heads = config.num_kv_heads
    divides = kv_heads % size == 0 or size % kv_heads == 0
    require(divides, f"tensor_parallel must divide the model's num_kv_heads={kv_heads}, or be a multiple of it", size)
    return replace(
        config,
        num_heads=config.num_heads // size,
        num_kv_heads=max(1, kv_heads // size),
        intermediate_size=config.intermediate_size // size,
        vocab_size=-(-config.vocab_size // size),
    )


def span(count: int, part: int, num_parts: int) -> slice:
    """Part number `part` of `count` things in equal parts; the last ones are smaller, or empty, if they must be."""
    length = -(-count // num_parts)
    return slice(min(part * length, count), min((part + 1) * length, count))


def part_of(name: str, shape: Sequence[int], num_kv_heads: int, rank: int, size: int) -> tuple[slice, ...]:
    """The part of a tensor of a checkpoint that a rank has, as an index.

    A bias that is added to a sum over ranks must be added once: rank 0 has it, and the others an empty part.

    Args:
        name: in the checkpoint, such as "model.layers.0.self_attn.q_proj.weight".
        shape: of the whole tensor.
        num_kv_heads: of the whole model.
    """
    *_, module, kind = name.split(".")
    whole = tuple(slice(0, count) for count in shape)
    if size == 1 or module not in BY_OUTPUTS + BY_INPUTS:
        return whole
    if module in BY_OUTPUTS:
        num_parts = min(size, num_kv_heads) if module in ("k_proj", "v_proj") else size
        return span(shape[0], rank * num_parts // size, num_parts), *whole[1:]
    if kind == "bias":
        return (slice(0, shape[0] if rank == 0 else 0),)
    return whole[0], span(shape[1], rank, size)
