"""Prefix matches of a whole batch, and the choice of victims: a GPU against the engine's own cache on the CPU."""

from __future__ import annotations

import functools

import numpy as np
import torch

from yaie.bench.kernel_cases import Case, Setting, Work, filled
from yaie.bench.radix import make_requests, pages_for
from yaie.engine.prefix_cache import PrefixCache
from yaie.kernels import radix_ops as twin
from yaie.kernels.ops import operations
from yaie.profiling.costs import Cost


def cases(setting: Setting) -> list[Case]:
    rows = (1, 64, 1024) if setting.real else (8,)
    return [*(match_prefixes(setting, n) for n in rows), choose_victims(setting)]


def match_prefixes(setting: Setting, num_rows: int) -> Case:
    """Prompts of 1,664 tokens, which share a beginning, are looked up in a tree that holds 1,024 such prompts."""
    held, scale = (1024, 1.0) if setting.real else (32, 1 / 8)

    def make() -> Work:
        requests, cache, on_host = filled_cache(held, scale)
        tree = twin.FlatTree(*(part.to(setting.device, copy=True) for part in on_host[:3]), on_host.page_size)
        queries = [tokens[:-1] for tokens in requests[:num_rows]]
        tokens = torch.from_numpy(np.stack(queries)).to(setting.device)
        lengths = torch.full((num_rows,), tokens.shape[1], device=setting.device)
        positions = torch.zeros(3, num_rows, dtype=torch.int64, device=setting.device)
        arguments = (*tree, tokens, lengths, positions, num_rows, tokens.shape[1])
        return Work(
            ours={
                name: filled(launch, positions, *arguments)
                for name, launch in setting.rungs("radix_ops/match_prefixes.cu", "match_prefixes_").items()
            },
            peers={},
            on_cpu={"PrefixCache.match, one by one": lambda: torch.tensor([cache.match(q).length for q in queries])},
            wanted=lambda: lengths,
            clear=positions.zero_,
            of_ours=lambda positions: positions[2],
        )

    length = len(make_requests(1, scale)[0]) - 1
    moved = num_rows * length * 8
    title = f"match_prefixes, {num_rows} x {length} tokens"
    return Case(title, make, Cost(bytes=moved, flops=0), ceiling="read", launch_bound=True)


@functools.cache
def filled_cache(num_requests: int, scale: float) -> tuple[list[np.ndarray], PrefixCache, twin.FlatTree]:
    """The prompts, a cache that holds them, and its tree as arrays."""
    requests, cache = make_requests(num_requests, scale), PrefixCache()
    for tokens, slots in zip(requests, pages_for(requests), strict=True):
        cache.insert(tokens, slots)
    return requests, cache, twin.flatten(cache.root)[0]


def choose_victims(setting: Setting) -> Case:
    """A tenth of the tokens of a large cache is to go."""
    nodes = 100_000 if setting.real else 1000

    def make() -> Work:
        last_used = setting.permutation(nodes)
        sizes = torch.randint(1, 100, (nodes,), device=setting.device)
        evictable = torch.rand(nodes, device=setting.device) < 0.8
        wanted_tokens = int(sizes.sum()) // 10
        chosen = torch.zeros(nodes, dtype=torch.uint8, device=setting.device)
        launch = setting.module("radix_ops/choose_victims.cu").choose_victims
        arguments = (last_used, sizes, evictable.to(torch.uint8), chosen, nodes, wanted_tokens)

        def as_mask(victims: torch.Tensor) -> torch.Tensor:
            return torch.zeros_like(evictable).index_fill(0, victims, True)

        by_sort = functools.partial(operations("torch").choose_victims, last_used, sizes, evictable, wanted_tokens)
        return Work(
            ours={"choose_victims": filled(launch, chosen, *arguments)},
            peers={"torch.argsort": by_sort},
            wanted=lambda: as_mask(by_sort()),
            clear=chosen.zero_,
            of_ours=lambda chosen: chosen.bool(),
            of_peers=as_mask,
        )

    moved = nodes * (8 + 8 + 1 + 1)
    return Case(f"choose_victims, {nodes} nodes", make, Cost(bytes=moved, flops=0), ceiling="read")
