"""Prefix matches of many rows and the choice of victims by the kernels of `csrc/radix_ops/`, for a GPU or the emulator.

To collect the pages of a match is `gather_pages` of `yaie.kernels.native.memory`.
"""

from __future__ import annotations

import torch

from yaie.kernels.backends import BackendError
from yaie.kernels.native import implements, module
from yaie.kernels.radix_ops import Positions

MATCH_RUNGS = {1: "match_prefixes_1_thread", 2: "match_prefixes_2_warp"}


@implements("match_prefixes")
def match_prefixes(backend, tree, tokens, lengths, *, rung=2, check=False):
    num_rows, max_len = tokens.shape
    positions = torch.empty(3, num_rows, dtype=torch.int64, device=tokens.device)
    match = getattr(module("radix_ops/match_prefixes.cu", backend, check=check), MATCH_RUNGS[rung])
    match(
        tree.edges,
        tree.starts,
        tree.children,
        tree.page_size,
        tokens.contiguous(),
        torch.as_tensor(lengths, dtype=torch.int64).to(tokens.device, non_blocking=True),
        positions,
        num_rows,
        max_len,
    )
    return Positions(*positions)


@implements("choose_victims")
def choose_victims(backend, last_used, sizes, evictable, num_tokens, *, check=False):
    """The kernel finds the set; the few that are in it are then put in order."""
    num_nodes = len(last_used)
    room = 63 - max(1, (num_nodes - 1).bit_length())  # bits that a node's number leaves in its order
    if num_nodes and int(last_used.max()) >> room:
        raise BackendError(f"choose_victims takes ticks below 2**{room} for {num_nodes} nodes")
    chosen = torch.empty(num_nodes, dtype=torch.uint8, device=last_used.device)
    module("radix_ops/choose_victims.cu", backend, check=check).choose_victims(
        last_used.contiguous(), sizes.contiguous(), evictable.to(torch.uint8), chosen, num_nodes, num_tokens
    )
    victims = chosen.nonzero().squeeze(-1).flip(0)
    return victims[torch.argsort(last_used[victims], stable=True)]
