"""Copying blocks, appending to the cache, gathering pages, transposing: bytes are all that counts. And one sum."""

from __future__ import annotations

import torch

from yaie.bench.kernel_cases import Case, Setting, Work, filled
from yaie.profiling.costs import Cost


def cases(setting: Setting) -> list[Case]:
    return [
        copy_blocks(setting),
        reshape_and_cache(setting),
        gather_pages(setting),
        transpose(setting),
        reduce(setting),
    ]


def copy_blocks(setting: Setting) -> Case:
    """Blocks of 32 KiB: 16 tokens of 8 KV heads of 128 numbers of 2 bytes. All layers, keys and values."""
    layers, pairs = (16, 128) if setting.real else (2, 4)
    tokens, heads, head_dim = 16, 8, 128
    block_bytes = tokens * heads * head_dim * 2
    moved = 2 * 2 * layers * pairs * block_bytes  # read and written, keys and values

    def make() -> Work:
        shape = (layers, 2 * pairs, tokens, heads, head_dim)
        cache = setting.random(2, *shape, dtype=torch.float16)
        key, value = cache
        order = setting.permutation(2 * pairs)
        source, target = order[:pairs], order[pairs:]
        mapping = torch.stack([source, target], dim=1).contiguous()
        sizes = (len(mapping), layers, 2 * pairs, block_bytes)

        def by_index() -> torch.Tensor:
            key.index_copy_(1, target, key.index_select(1, source))
            value.index_copy_(1, target, value.index_select(1, source))
            return cache

        def clear() -> None:
            key[:, target], value[:, target] = 0, 0

        def wanted() -> torch.Tensor:
            out = cache.clone()
            out[:, :, target] = cache[:, :, source]
            return out

        return Work(
            ours={
                name: filled(launch, cache, key, value, mapping, *sizes)
                for name, launch in setting.rungs("memory/copy_blocks.cu", "copy_blocks_").items()
            },
            peers={"index_select + index_copy_": by_index},
            wanted=wanted,
            clear=clear,
        )

    title = f"copy_blocks, {2 * layers * pairs} blocks of {block_bytes >> 10} KiB"
    return Case(title, make, Cost(bytes=moved, flops=0))


def reshape_and_cache(setting: Setting) -> Case:
    """The keys and values of new tokens of a long prefill go to the slots that the mapping names."""
    tokens, slots = (16384, 65536) if setting.real else (128, 512)
    heads, head_dim = 8, 128
    token_bytes = heads * head_dim * 2

    def make() -> Work:
        key, value = (setting.random(tokens, heads, head_dim, dtype=torch.float16) for _ in range(2))
        cache = torch.zeros(2, slots, heads, head_dim, dtype=torch.float16, device=setting.device)
        mapping = setting.permutation(slots)[:tokens].contiguous()

        def by_index() -> torch.Tensor:
            cache[0].index_copy_(0, mapping, key)
            cache[1].index_copy_(0, mapping, value)
            return cache

        def wanted() -> torch.Tensor:
            out = torch.zeros_like(cache)
            out[0, mapping], out[1, mapping] = key, value
            return out

        launch = setting.module("memory/reshape_and_cache.cu").reshape_and_cache
        arguments = (key, value, cache[0], cache[1], mapping, tokens, token_bytes)
        return Work(
            ours={"reshape_and_cache": filled(launch, cache, *arguments)},
            peers={"index_copy_": by_index},
            wanted=wanted,
            clear=cache.zero_,
        )

    return Case(f"reshape_and_cache, {tokens} tokens", make, Cost(bytes=2 * 2 * tokens * token_bytes, flops=0))


def gather_pages(setting: Setting) -> Case:
    """The pages of one long request, in the order of its positions."""
    context, block_size = (131072, 16) if setting.real else (256, 16)
    heads, head_dim = 8, 128
    token_bytes, blocks = heads * head_dim * 2, context // block_size

    def make() -> Work:
        cache = setting.random(2 * blocks, block_size, heads, head_dim, dtype=torch.float16)
        out = torch.zeros(context, heads, head_dim, dtype=torch.float16, device=setting.device)
        table = setting.permutation(2 * blocks)[:blocks].contiguous()
        rows = out.view(blocks, block_size, heads, head_dim)
        launch = setting.module("memory/gather_pages.cu").gather_pages
        return Work(
            ours={"gather_pages": filled(launch, out, cache, table, out, context, block_size, token_bytes)},
            peers={"index_select": lambda: torch.index_select(cache, 0, table, out=rows).view_as(out)},
            wanted=lambda: cache[table].view_as(out),
            clear=out.zero_,
        )

    return Case(f"gather_pages, {context} tokens, page 16", make, Cost(bytes=2 * context * token_bytes, flops=0))


def transpose(setting: Setting) -> Case:
    rows, cols = (8192, 8192) if setting.real else (256, 256)

    def make() -> Work:
        x = setting.random(rows, cols)
        y = torch.zeros(cols, rows, device=setting.device)
        return Work(
            ours={
                name: filled(launch, y, x, y, rows, cols)
                for name, launch in setting.rungs("memory/transpose.cu", "transpose_").items()
            },
            peers={"x.T.contiguous()": lambda: x.T.contiguous()},
            wanted=lambda: x.T,
            clear=y.zero_,
        )

    return Case(f"transpose, {rows} x {cols} floats", make, Cost(bytes=2 * rows * cols * 4, flops=0))


def reduce(setting: Setting) -> Case:
    """Zeros and ones, so few ones that every order of additions gives the same sum in float32."""
    n = 1 << (26 if setting.real else 15)

    def make() -> Work:
        x = (torch.rand(n, device=setting.device) < 0.1).float()
        total = torch.zeros(1, device=setting.device)
        return Work(
            ours={
                name: filled(launch, total, x, total, n)
                for name, launch in setting.rungs("memory/reduce.cu", "reduce_").items()
            },
            peers={"x.sum()": lambda: x.sum(0, keepdim=True)},
            wanted=lambda: x.double().sum(0, keepdim=True).float(),
            clear=lambda: total.fill_(torch.nan),
        )

    return Case(f"sum of {n >> 10} Ki floats", make, Cost(bytes=4 * n, flops=n), ceiling="read")
