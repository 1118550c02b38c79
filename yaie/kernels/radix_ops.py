"""The radix tree as arrays, and what can be asked of it for many requests at once.

A tree of Python objects cannot go to a GPU, so `flatten` lays it out: nodes numbered so that the children of a node
follow each other, all edges in one row of tokens. The functions here are the readable twins of `csrc/radix_ops/`.

The engine itself asks its `PrefixCache`, one request at a time: for one match a walk in Python takes less time than a
launch, and a flat copy is out of date after the next insertion.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from yaie.kernels import checks
from yaie.kernels.radix_tree import Node


class FlatTree(NamedTuple):
    """A radix tree as arrays, all int64. Node 0 is the root; a parent comes before its children."""

    edges: Tensor  # [num_edge_tokens], the tokens of all edges, node after node
    starts: Tensor  # [num_nodes + 1], the edge of node i is edges[starts[i] : starts[i + 1]]
    # [num_nodes + 1], the children of node i are the nodes from children[i] to children[i + 1] - 1, in the order of the
    # first pages of their edges
    children: Tensor
    page_size: int

    def to(self, device: torch.device | str) -> FlatTree:
        """The same tree on another device."""
        return FlatTree(*(part.to(device) for part in self[:3]), self.page_size)


class Positions(NamedTuple):
    """Where the walk of each row ended, `[num_rows]` int64 each: as `radix_tree.Position`, with numbers for nodes."""

    nodes: Tensor
    inside: Tensor
    lengths: Tensor


def flatten(root: Node, page_size: int = 1) -> tuple[FlatTree, list[Node]]:
    """Lay out the tree below `root`; also the nodes by their number, to find payloads and parents."""
    checks.require(isinstance(root, Node), "root must be a Node, such as `tree.root`", root)
    page_size = checks.integer("page_size", page_size, 1)
    nodes, children = [root], [1]
    for node in nodes:  # grows while we go over it: level by level
        nodes += sorted(node.children.values(), key=lambda child: child.key)
        children.append(len(nodes))
    edges = np.concatenate([node.edge for node in nodes])
    starts = np.cumsum([0, *(len(node.edge) for node in nodes)])
    return FlatTree(*(torch.from_numpy(np.asarray(x)) for x in (edges, starts, children)), page_size), nodes


def match_prefixes(tree: FlatTree, tokens: Tensor, lengths: Sequence[int]) -> Positions:
    """`ops.radix.Torch.match_prefixes`: from the root as far as the tree goes, as `radix_tree.match_prefix` does."""
    edges, starts, children = (part.numpy() for part in (tree.edges.cpu(), tree.starts.cpu(), tree.children.cpu()))
    page = tree.page_size
    found = []
    for row, count in zip(tokens.cpu().numpy(), lengths, strict=True):
        node = inside = length = 0
        while count - length >= page:
            child = _find_child(edges, starts, children, node, tuple(row[length : length + page]))
            if child is None:
                break
            edge = edges[starts[child] : starts[child + 1]]
            shorter = min(len(edge), count - length)
            differs = np.flatnonzero(edge[:shorter] != row[length : length + shorter])
            inside = int(differs[0]) if len(differs) else shorter
            inside -= inside % page
            node, length = child, length + inside
            if inside < len(edge):
                break
        found.append((node, inside, length))
    table = torch.tensor(found, dtype=torch.int64, device=tokens.device).view(-1, 3)
    return Positions(*table.T.contiguous())


def _find_child(
    edges: np.ndarray, starts: np.ndarray, children: np.ndarray, node: int, page: tuple[int, ...]
) -> int | None:
    """The child of `node` whose edge begins with `page`."""

    def first_page(child: int) -> tuple[int, ...]:
        return tuple(edges[starts[child] : starts[child] + len(page)])

    end = int(children[node + 1])
    child = bisect_left(range(end), page, int(children[node]), key=first_page)
    return child if child < end and first_page(child) == page else None


def choose_victims(last_used: Tensor, sizes: Tensor, evictable: Tensor, num_tokens: int) -> Tensor:
    """`ops.radix.Torch.choose_victims`: what an LRU cache evicts.

    A use touches a node and all above it, so a parent is never older than its children and, with the higher number
    first, never goes before them: one pass over all nodes gives the order in which `PrefixCache.evict` takes leaf
    after leaf. (`sizes` are tokens on the edges, `evictable` is what is unlocked and not the root.)
    """
    numbers = torch.arange(len(last_used), device=last_used.device).flip(0)
    order = numbers[torch.argsort(last_used.flip(0), stable=True)]
    order = order[evictable[order]]
    freed_before = sizes[order].cumsum(0) - sizes[order]
    return order[freed_before < num_tokens]
