from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from yaie.course.expect import expect, given
from yaie.kernels import radix_tree


def build_tree(sequences: Sequence[Sequence[int]], page_size: int = 1) -> radix_tree.Node:
    """The tree of `sequences` (each a whole number of pages), made without match and split, to judge them."""
    root = radix_tree.Node(np.empty(0, dtype=np.int64), radix_tree.RequestEnds())
    _grow(root, [list(sequence) for sequence in sequences], page_size)
    return root


def _grow(parent: radix_tree.Node, sequences: list[list[int]], page_size: int) -> None:
    by_first_page: dict[tuple[int, ...], list[list[int]]] = {}
    for sequence in sequences:
        if sequence:
            by_first_page.setdefault(tuple(sequence[:page_size]), []).append(sequence)
    for group in by_first_page.values():
        shared = min(_common(group[0], other) for other in group) // page_size * page_size
        edge = np.array(group[0][:shared], dtype=np.int64)
        child = radix_tree.add_leaf(parent, edge, radix_tree.RequestEnds(), page_size)
        _grow(child, [sequence[shared:] for sequence in group], page_size)


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _tokens_to(node: radix_tree.Node) -> list[int]:
    """The tokens from the root to the end of `node`, by a loop that trusts only the parents."""
    edges = []
    while node is not None:
        edges.append(node.edge.tolist())
        node = node.parent
    return [token for edge in reversed(edges) for token in edge]


def _stop(root: radix_tree.Node, tokens: list[int]) -> tuple[list[int], int]:
    """The path to the node in whose edge, or at whose end, these tokens end; and how long that edge is."""
    for node in radix_tree.iter_nodes(root):
        path, size = _tokens_to(node), len(node.edge)
        is_in_edge = len(path) - size < len(tokens) if tokens else node is root
        if is_in_edge and path[: len(tokens)] == tokens:
            return path, size
    raise LookupError(tokens)


def _edges(node: radix_tree.Node) -> list[object]:
    """What is below a node: the edge of each child, and what is below that one."""
    return [[child.edge.tolist(), _edges(child)] for child in node.children.values()]


MATCH_CASES: tuple[tuple[list[list[int]], list[int], int], ...] = (
    # what the tree holds, tokens, page size
    ([[1, 2]], [7], 1),
    ([[1, 2]], [1, 2], 1),
    ([[1, 9]], [1, 2, 3], 1),
    ([[1, 2, 3]], [1, 2], 1),
    ([[1, 2, 1, 2, 7], [1, 2, 2, 8]], [1, 2, 1, 2, 7], 1),  # the second edge begins like the first
    ([[1, 2, 3, 4], [1, 2, 8]], [1, 2, 3, 4, 5], 1),
    ([[1, 2, 3, 4], [1, 2, 8]], [1, 2, 3, 9], 1),
    ([[1, 2, 3, 4], [1, 2, 8]], [1, 2, 9], 1),
    ([[1, 2, 3, 4], [1, 2, 8]], [1, 2, 8], 1),
    ([[1, 2], [3]], [3], 1),
    ([[1, 2, 3], [1, 2, 4]], [1, 3], 1),  # what is left after a stop inside an edge begins like a child below it
    ([], [1, 2], 1),
    ([[1, 2]], [], 1),
    ([[1, 2, 3, 4]], [1, 2, 3], 2),
    ([[1, 2, 3, 4]], [1, 2, 3, 9], 2),
    ([[1, 2, 3, 4]], [1, 9, 3, 4], 2),
    ([[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 7, 8]], [1, 2, 5, 6], 2),
    ([[1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 4, 5, 9, 9, 9]], [1, 2, 3, 4, 5, 9, 9, 9, 9], 4),
)

BY_KEY = (
    "Only one child can go on: the one whose key in `node.children` is the `first_page` of the tokens that are left."
)


def check() -> None:
    for sequences, tokens, page_size in MATCH_CASES:
        root = build_tree(sequences, page_size)
        before = _edges(root)
        best = max((_common(sequence, tokens) for sequence in sequences), default=0) // page_size * page_size
        path, size = _stop(root, tokens[:best])
        pages = f", page_size={page_size}" if page_size > 1 else ""
        with given(f"match_prefix(root of a tree that holds {sequences}, {tokens}{pages})"):
            found = radix_tree.match_prefix(root, np.array(tokens, dtype=np.int64), page_size)
            expect(type(found), radix_tree.Position, "type of the result")
            node, inside, length = found
            expect(type(node), radix_tree.Node, "type of the result's node")
            expect(length, best, "number of matched tokens (length)")
            expect(_tokens_to(node), path, "path to the node")
            expect(inside, best - (len(path) - size), "number of tokens of its edge that matched (inside)")
            expect(_edges(root), before, "tree after the call (edges, and below each its children; as before)")
    _check_looks_at_one_child()


class _Children(dict):
    """Children that count how many of them are looked at one after another."""

    looked_at = 0

    def __iter__(self) -> Iterator[object]:
        for key in super().__iter__():
            self.looked_at += 1
            yield key

    def keys(self) -> Iterator[object]:
        return iter(self)

    def values(self) -> Iterator[object]:
        return (self[key] for key in self)

    def items(self) -> Iterator[tuple[object, object]]:
        return ((key, self[key]) for key in self)


def _check_looks_at_one_child() -> None:
    root = build_tree([[token, token] for token in range(1000)])
    root.children = children = _Children(root.children)
    with given("match_prefix(root with the children [0, 0], [1, 1], ..., [999, 999], [700, 700])"):
        found = radix_tree.match_prefix(root, np.array([700, 700]))
        expect(found.length, 2, "number of matched tokens (length)")
        expect(children.looked_at, 0, "number of children that were looked at in a loop", note=BY_KEY)
