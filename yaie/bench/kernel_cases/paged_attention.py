"""Decoding over pages: every key and value of the cache is read once, so the bandwidth of reading is the limit."""

from __future__ import annotations

import functools

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention

from yaie.bench.kernel_cases import Call, Case, Setting, Work, package
from yaie.kernels import ops
from yaie.profiling.costs import Cost, decode_cost

DTYPE = torch.bfloat16
HEADS, HEAD_DIM = (32, 8), 128  # of queries, and of keys and values: as in Llama 3 8B and Qwen3 8B


def cases(setting: Setting) -> list[Case]:
    if not setting.real:
        return [decode(setting, 2, 64, 16, (4, 1), 64), prefill(setting, 2, 24, 64, (4, 1), 64)]
    sizes = (64, 4096, 16), (64, 4096, 1), (1, 32768, 16), (1, 1024, 16), (64, 4096, 16, (64, 8))
    prefills = (4, 1024, 4096), (8, 1024, 4096), (64, 128, 2176, (16, 8))
    return [*(decode(setting, *size) for size in sizes), *(prefill(setting, *size) for size in prefills)]


def named(title: str, heads: tuple[int, int]) -> str:
    return title if heads == HEADS else f"{title}, heads {heads[0]} on {heads[1]}"


def decode(
    setting: Setting, num_seqs: int, context_len: int, page: int, of: tuple[int, int] = HEADS, head_dim: int = HEAD_DIM
) -> Case:
    heads, kv_heads = of
    blocks = context_len // page  # of each sequence

    def make() -> Work:
        query = setting.random(num_seqs, heads, head_dim, dtype=DTYPE)
        keys, values = (setting.random(num_seqs * blocks, page, kv_heads, head_dim, dtype=DTYPE) for _ in range(2))
        tables = setting.permutation(num_seqs * blocks, torch.int32).view(num_seqs, blocks)
        lens = torch.full((num_seqs,), context_len, dtype=torch.int32, device=setting.device)

        def wanted() -> torch.Tensor:
            return torch.stack(
                [plain_decode(q, keys[t.long()], values[t.long()]) for q, t in zip(query, tables, strict=True)]
            )

        def planned(rung: ops.KernelOperations) -> Call:
            plan = rung.decode_plan(tables, lens, context_len, keys)
            return functools.partial(rung.paged_attention_forward, query, keys, values, tables, None, None, None, plan)

        return Work(
            ours={name: planned(rung) for name, rung in setting.operations("paged_decode").items()},
            peers=peers(setting, query, keys, values, tables, page),
            wanted=wanted,
        )

    return Case(
        named(f"paged decode, batch {num_seqs}, {context_len} tokens, page {page}", of if setting.real else HEADS),
        make,
        decode_cost(num_seqs, context_len, heads, kv_heads, head_dim, DTYPE.itemsize),
        ceiling="read",
        tolerance=0.02,
        launch_bound=num_seqs * context_len < 10_000,
    )


def prefill(
    setting: Setting, num_seqs: int, new: int, context_len: int, of: tuple[int, int] = HEADS, head_dim: int = HEAD_DIM
) -> Case:
    """New tokens of several sequences over pages that hold their prefix already, and the new tokens too."""
    (heads, kv_heads), page = of, 16
    blocks = context_len // page

    def make() -> Work:
        query = setting.random(num_seqs * new, heads, head_dim, dtype=DTYPE)
        keys, values = (setting.random(num_seqs * blocks, page, kv_heads, head_dim, dtype=DTYPE) for _ in range(2))
        tables = setting.permutation(num_seqs * blocks, torch.int32).view(num_seqs, blocks)
        lens = ([context_len] * num_seqs, [new] * num_seqs)
        kernels = ops.operations(setting.backend)
        plan = kernels.plan_attention(tables, *lens, keys)
        by_seq = query.view(num_seqs, new, heads, head_dim).transpose(1, 2)
        k, v = (x[tables.flatten().long()].view(num_seqs, context_len, kv_heads, head_dim) for x in (keys, values))
        in_order = (k.transpose(1, 2), v.transpose(1, 2))

        def sdpa(dtype: torch.dtype) -> torch.Tensor:
            q, k, v = (x.to(dtype) for x in (by_seq, *in_order))
            mask = causal_lower_right(new, context_len) if dtype == DTYPE and setting.real else visible
            out = scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
            return out.transpose(1, 2).reshape(query.shape)

        visible = torch.ones(new, context_len, dtype=torch.bool, device=setting.device).tril(context_len - new)
        return Work(
            ours={
                rung.OVER_PAGES[number][1]: functools.partial(
                    rung.paged_attention_forward, query, keys, values, tables, *lens, None, plan
                )
                for rung in setting.operations("flash_attention").values()
                if (number := rung.rungs["flash_attention"]) in rung.OVER_PAGES
            },
            peers={"SDPA, no pages": lambda: sdpa(DTYPE)},
            wanted=lambda: sdpa(torch.float32),
        )

    pairs = num_seqs * (new * (context_len - new) + new * (new + 1) // 2)  # of a query and a key that it sees
    numbers = 2 * num_seqs * (context_len * kv_heads + new * heads) * head_dim
    return Case(
        named(f"prefill over pages, {num_seqs} x {new} new of {context_len} tokens", of if setting.real else HEADS),
        make,
        Cost(bytes=numbers * DTYPE.itemsize, flops=4 * pairs * heads * head_dim),
        ceiling="compute",
        tolerance=0.02,
    )


def plain_decode(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """One query `[heads, head_dim]` over its pages `[blocks, page, kv_heads, head_dim]`, in float32."""
    groups = query.shape[0] // keys.shape[-2]
    keys, values = (x.flatten(0, 1).float().repeat_interleave(groups, dim=1) for x in (keys, values))
    scores = torch.einsum("hd,thd->ht", query.float(), keys) * query.shape[-1] ** -0.5
    return torch.einsum("ht,thd->hd", scores.softmax(-1), values)


def peers(
    setting: Setting, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, tables: torch.Tensor, page: int
) -> dict[str, Call]:
    """torch has no attention over pages: it gets keys and values that lie in order, which saves it the page table."""
    num_seqs = len(query)
    in_order = [x[tables.flatten().long()].view(num_seqs, -1, *x.shape[2:]).transpose(1, 2) for x in (keys, values)]

    def sdpa(backend: SDPBackend) -> torch.Tensor:
        with sdpa_kernel(backend):
            return scaled_dot_product_attention(query[:, :, None], *in_order, enable_gqa=True)[:, :, 0]

    backends = (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION) if setting.real else (SDPBackend.MATH,)
    found: dict[str, Call] = {f"SDPA {b.name.lower()}, no pages": functools.partial(sdpa, b) for b in backends}
    if setting.real and setting.peers and (flashinfer := package("flashinfer")):
        found[f"flashinfer {flashinfer.__version__}"] = _flashinfer(flashinfer, query, keys, values, tables, page)
    return found


def _flashinfer(flashinfer, query, keys, values, tables, page) -> Call:
    """Its plan is made beforehand, as ours is in an engine's step."""
    num_seqs, blocks = tables.shape
    workspace = torch.empty(128 << 20, dtype=torch.uint8, device=query.device)
    wrapper = flashinfer.BatchDecodeWithPagedKVCacheWrapper(workspace, "NHD")
    starts = torch.arange(num_seqs + 1, dtype=torch.int32, device=query.device) * blocks
    last = torch.full((num_seqs,), page, dtype=torch.int32, device=query.device)
    wrapper.plan(
        *(starts, tables.flatten(), last, query.shape[1], keys.shape[2], query.shape[2], page),
        q_data_type=query.dtype,
        data_type=keys.dtype,
    )
    return lambda: wrapper.run(query, (keys, values))
