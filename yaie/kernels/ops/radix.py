"""The radix tree, asked for many requests at once. Collecting the pages of a match is `gather_pages`."""

from bisect import bisect_left
from collections.abc import Sequence

import torch
from torch import Tensor

from yaie.kernels.checks import LARGEST, Sizes, integer, integers, require
from yaie.kernels.ops.launching import Backend, BackendError, Family, Launching, checked, run
from yaie.kernels.radix_ops import FlatTree, Positions
from yaie.kernels.radix_tree import common_prefix_length

__all__ = ["choose_victims", "match_prefixes"]


class Torch(Family):
    def match_prefixes(self, tree: FlatTree, tokens: Tensor, lengths: Sequence[int]) -> Positions:
        """The longest prefix of each row that a radix tree holds, in whole pages, as `radix_tree.match_prefix` does.

        tree: from `radix_ops.flatten`, on the device of tokens
        tokens: `[num_rows, max_len]`, int64; of each row the first `lengths` count
        """
        edges, starts, children = (part.cpu().numpy() for part in tree[:3])
        page, found = tree.page_size, []

        def first_page(node: int) -> list[int]:
            return edges[starts[node] : starts[node] + page].tolist()

        for row, count in zip(tokens.cpu().numpy(), lengths, strict=True):
            node = inside = length = 0
            while count - length >= page:
                key, end = row[length : length + page].tolist(), int(children[node + 1])
                child = bisect_left(range(end), key, int(children[node]), key=first_page)
                if child == end or first_page(child) != key:
                    break
                edge = edges[starts[child] : starts[child + 1]]
                inside = common_prefix_length(edge, row[length:count])
                inside -= inside % page
                node, length = child, length + inside
                if inside < len(edge):
                    break
            found.append((node, inside, length))
        return Positions(*torch.tensor(found, dtype=torch.int64, device=tokens.device).view(-1, 3).T.contiguous())

    def choose_victims(self, last_used: Tensor, sizes: Tensor, evictable: Tensor, num_tokens: int) -> Tensor:
        """The nodes of a prefix cache that go, first to go first, to free at least `num_tokens` (or all there are).

        last_used: `[num_nodes]`, int64, from 0: the smallest goes first, among equals the higher number
        sizes: `[num_nodes]`, int64, what each node frees
        evictable: `[num_nodes]`, bool

        A use touches a node and all above it, so a parent is never older than its children and never goes before them:
        one pass over all nodes gives the order in which `PrefixCache.evict` takes leaf after leaf.
        """
        numbers = torch.arange(len(last_used), device=last_used.device).flip(0)
        order = numbers[torch.argsort(last_used.flip(0), stable=True)]
        order = order[evictable[order]]
        freed_before = sizes[order].cumsum(0) - sizes[order]
        return order[freed_before < num_tokens]


class Kernels(Launching):
    RUNGS = {
        "match_prefixes": {
            1: ("radix_ops/match_prefixes.cu", "match_prefixes_1_thread"),
            2: ("radix_ops/match_prefixes.cu", "match_prefixes_2_warp"),
        }
    }

    def match_prefixes(self, tree, tokens, lengths):
        num_rows, max_len = tokens.shape
        positions = torch.empty(3, num_rows, dtype=torch.int64, device=tokens.device)
        lengths = torch.as_tensor(lengths, dtype=torch.int64).to(tokens.device, non_blocking=True)
        self.launch[self.chosen["match_prefixes"]](*tree, tokens.contiguous(), lengths, positions, num_rows, max_len)
        return Positions(*positions)

    def choose_victims(self, last_used, sizes, evictable, num_tokens):
        """The kernel finds the set; the few that are in it are then put in order."""
        num_nodes = len(last_used)
        room = 63 - max(1, (num_nodes - 1).bit_length())  # bits that a node's number leaves in its order, an int64
        if num_nodes and int(last_used.max()) >> room:
            raise BackendError(f"choose_victims takes ticks below 2**{room} for {num_nodes} nodes")
        chosen = torch.empty(num_nodes, dtype=torch.uint8, device=last_used.device)
        self.launch["radix_ops/choose_victims.cu", "choose_victims"](
            last_used.contiguous(), sizes.contiguous(), evictable.to(torch.uint8), chosen, num_nodes, num_tokens
        )
        victims = chosen.nonzero().squeeze(-1).flip(0)
        return victims[torch.argsort(last_used[victims], stable=True)]


@checked(Torch)
def match_prefixes(
    tree: FlatTree, tokens: Tensor, lengths: Sequence[int] | Tensor, *, backend: Backend = "auto"
) -> Positions:
    sizes = Sizes()
    sizes.take("num_rows max_len", [torch.int64], tokens=tokens)
    _check_tree(tree, sizes)
    lengths = integers("lengths", lengths, sizes["num_rows"], most=sizes["max_len"])
    return run(backend, "match_prefixes", tokens, tree, tokens, lengths)


def _check_tree(tree: FlatTree, sizes: Sizes) -> None:
    """Require a tree in which a walk ends, and stays inside the arrays."""
    require(isinstance(tree, FlatTree), "tree must be a FlatTree, from radix_ops.flatten", tree)
    edges, starts, children, _ = tree
    page = integer("tree.page_size", tree.page_size, 1)
    sizes.take("num_edge_tokens", [torch.int64], contiguous=True, edges=edges)
    sizes.take("num_nodes+1", [torch.int64], contiguous=True, starts=starts, children=children)
    lens, numbers = starts.diff(), torch.arange(len(children), device=children.device)
    right = len(starts) > 1 and int(starts[0]) == 0 and int(starts[-1]) == len(edges) and int(lens[0]) == 0
    right = right and bool(((lens >= 0) & (lens % page == 0)).all()) and bool((lens[1:] > 0).all())
    right = right and bool((children[:-1] > numbers[:-1]).all()) and bool((children.diff() >= 0).all())
    require(
        right and int(children[-1]) == len(lens) and int(children[0]) == 1,
        f"tree must be as radix_ops.flatten gives it, in pages of {page}, got edges {list(edges.shape)}, starts and "
        f"children {list(starts.shape)} that describe no tree",
    )


@checked(Torch)
def choose_victims(
    last_used: Tensor, sizes: Tensor, evictable: Tensor, num_tokens: int, *, backend: Backend = "auto"
) -> Tensor:
    nodes = Sizes()
    nodes.take("num_nodes", [torch.int64], last_used=last_used, sizes=sizes)
    nodes.take("num_nodes", [torch.bool], evictable=evictable)
    num_tokens = integer("num_tokens", num_tokens)
    for name, numbers in (("last_used", last_used), ("sizes", sizes)):
        require(not bool((numbers < 0).any()), f"{name} must be at least 0, got {numbers.tolist()[:8]}")
    require(float(sizes.double().sum()) < LARGEST, "sizes must add up to less than 2**63")
    return run(backend, "choose_victims", last_used, last_used, sizes, evictable, num_tokens)
