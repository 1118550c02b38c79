"""Prefill: queries over their own keys and values. Long enough, so that arithmetic is the limit and not bytes."""

from __future__ import annotations

import functools

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from yaie.bench.kernel_cases import Call, Case, Setting, Work, package
from yaie.kernels.ops import KernelOperations
from yaie.profiling.costs import prefill_cost

SLOW_RUNGS = ("flash_attention_1_naive",)  # scores in memory: only at the shortest length
SHORTEST = 4096
DTYPE = torch.bfloat16


def cases(setting: Setting) -> list[Case]:
    """16,384 tokens in sequences of 4k, 8k and 16k, 16 heads of 128, as in the papers on flash attention."""
    lengths = (SHORTEST, 8192, 16384) if setting.real else (128,)
    tokens, num_heads, head_dim = (16384, 16, 128) if setting.real else (128, 2, 64)
    return [
        case(setting, tokens // length, length, num_heads, head_dim, causal)
        for length in lengths
        for causal in (True, False)
    ]


def case(setting: Setting, num_seqs: int, length: int, num_heads: int, head_dim: int, causal: bool) -> Case:
    rungs = setting.operations("flash_attention")
    rungs = {name: rung for name, rung in rungs.items() if name not in SLOW_RUNGS or length <= SHORTEST}

    def make() -> Work:
        query, key, value = (setting.random(num_seqs, length, num_heads, head_dim, dtype=DTYPE) for _ in range(3))
        starts = torch.arange(0, (num_seqs + 1) * length, length, dtype=torch.int32, device=setting.device)
        packed = [x.flatten(0, 1) for x in (query, key, value)]

        def run(rung: KernelOperations) -> torch.Tensor:
            return rung.flash_attention(*packed, starts, starts, length, length, causal).view_as(query)

        return Work(
            ours={name: functools.partial(run, rung) for name, rung in rungs.items()},
            peers=peers(setting, query, key, value, causal),
            wanted=lambda: plain_attention(query, key, value, causal),
        )

    title = f"prefill, {num_seqs} x {length} tokens, {'causal' if causal else 'not causal'}"
    cost = prefill_cost(num_seqs, length, num_heads, num_heads, head_dim, DTYPE.itemsize, causal=causal)
    return Case(title, make, cost, ceiling="compute", tolerance=0.02)


def peers(
    setting: Setting, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, causal: bool
) -> dict[str, Call]:
    """torch's own attention by backend, and others' if asked for. The backend without tiles writes its scores down."""
    heads_first = [x.transpose(1, 2) for x in (query, key, value)]

    def sdpa(backend: SDPBackend) -> torch.Tensor:
        with sdpa_kernel(backend):
            return scaled_dot_product_attention(*heads_first, is_causal=causal).transpose(1, 2)

    fused = (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION) if setting.real else ()
    backends = (*fused, *((SDPBackend.MATH,) if query.shape[1] <= SHORTEST else ()))
    found: dict[str, Call] = {f"SDPA {b.name.lower()}": functools.partial(sdpa, b) for b in backends}
    if setting.real and setting.peers and (flash := package("flash_attn")):
        found[f"flash-attn {flash.__version__}"] = lambda: flash.flash_attn_func(query, key, value, causal=causal)
    return found


def plain_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, causal: bool) -> torch.Tensor:
    """In float32, a head at a time: the scores of a head take q_len * kv_len * 4 bytes."""
    out = torch.empty(query.shape, dtype=torch.float32, device=query.device)
    length = query.shape[1]
    hidden = torch.ones(length, length, dtype=torch.bool, device=query.device).triu(1) if causal else None
    for seq in range(query.shape[0]):
        for head in range(query.shape[2]):
            q, k, v = (x[seq, :, head].float() for x in (query, key, value))
            scores = q @ k.T * q.shape[-1] ** -0.5
            if hidden is not None:
                scores.masked_fill_(hidden, -torch.inf)
            out[seq, :, head] = scores.softmax(-1) @ v
    return out
