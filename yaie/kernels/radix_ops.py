"""The radix tree as arrays, for `ops.radix`: a tree of Python objects cannot go to a GPU.

The engine itself asks its `PrefixCache`, one request at a time: for one match a walk in Python takes less time than a
launch, and a flat copy is out of date after the next insertion.
"""

from __future__ import annotations

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
