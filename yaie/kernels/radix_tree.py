"""The radix tree: token sequences stored so that a common beginning is kept once.

A path-compressed tree: the *edge* that leads into a node carries a run of tokens, so a 4,096-token prompt is one node
and not 4,096. An edge is cut only where two sequences part or where something ends.

    root --[1 2]--+--[3]------ "req1" ends here
                  +--[4 4 4]-- "req2" ends here

Two classes keep such a tree, with another *payload* on its nodes: `RadixTree` (below) the ids of the requests that end
there, `yaie.engine.prefix_cache.PrefixCache` pages, locks and times of use.

With pages (`page_size > 1`) the tree is cut between pages only: every edge is a whole number of pages long, and
children are told apart by their whole first page.

Tokens are 1-D numpy int64 arrays inside the tree: slicing one copies nothing, and two are compared at memory speed.
Source of the idea: RadixAttention, in "SGLang: Efficient Execution of Structured Language Model Programs"
(arXiv 2312.07104).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from yaie.kernels import checks


@dataclass(slots=True, eq=False, repr=False)
class Node:
    """A node and the edge that leads into it. Compared and hashed by identity."""

    edge: np.ndarray  # [num_edge_tokens], the tokens between the parent and this node; empty for a root only
    # What the owner of the tree hangs here. It follows a split of the edge: `payload.split(num_pages)` keeps what
    # belongs to the edge from page `num_pages` on, and returns the payload of the pages before.
    payload: Any
    parent: Node | None = None  # None for a root, and for a node that was taken out of its tree
    key: Hashable = None  # under which `parent.children` holds this node: `first_page(edge, page_size)`
    children: dict[Hashable, Node] = field(default_factory=dict)  # the nodes that go on from here, by their first page

    def __repr__(self) -> str:
        shown = " ".join(map(str, self.edge[:8].tolist())) + (" ..." if len(self.edge) > 8 else "")
        return f"<Node [{shown}] {len(self.edge)} tokens, {len(self.children)} children>"


class Position(NamedTuple):
    """A place in a tree: after the first `inside` tokens of `node`'s edge, `length` tokens away from the root."""

    node: Node
    inside: int
    length: int


def as_int_array(values: Sequence[int] | np.ndarray, name: str) -> np.ndarray:
    """`values` (a list, tuple, numpy array or CPU tensor) as a 1-D int64 array; not a copy where it is one already."""
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:  # rows of unequal length, tensors that numpy does not take
        raise ValueError(f"{name} must be a flat sequence of integers: {error}") from error
    if array.dtype == np.int64 and array.ndim == 1:
        return array
    flat = f"{name} must be a flat sequence of integers, got shape {array.shape} from {type(values).__name__}"
    checks.require(array.ndim == 1, flat)
    if array.size == 0:
        return np.empty(0, dtype=np.int64)
    if array.dtype.kind not in "iu" or not np.can_cast(array.dtype, np.int64):
        raise TypeError(f"{name} must be integers that fit 64 bits, got {array.dtype} (first value: {array[0]!r})")
    return array.astype(np.int64, copy=False)


def first_page(tokens: np.ndarray, page_size: int) -> tuple[int, ...]:
    """The first `page_size` tokens as a tuple, the key of a child; shorter if the tokens end before, as no key is."""
    return tuple(tokens[:page_size].tolist())


def common_prefix_length(a: np.ndarray, b: np.ndarray) -> int:
    """How many tokens `a` and `b` have in common from the start: [1, 2, 3] and [1, 2, 9, 9] have 2."""
    shorter = min(len(a), len(b))
    a, b = a[:shorter], b[:shorter]
    if a.tobytes() == b.tobytes():  # the usual case, and twice as fast as a comparison by numpy
        return shorter
    return int((a != b).argmax())  # the first True


def match_prefix(root: Node, tokens: np.ndarray, page_size: int = 1) -> Position:
    """How far the tree below `root` goes along `tokens`, [num_tokens] int64, in whole pages. Changes nothing.

    Returns the last node reached, how many tokens of its edge matched (all of them if the walk stopped at its end), and
    how many matched in all; both are multiples of `page_size`. No match at all is Position(root, 0, 0).
    """
    node, length, rest = root, 0, tokens
    while child := node.children.get(first_page(rest, page_size)):
        inside = common_prefix_length(child.edge, rest)
        inside -= inside % page_size
        length += inside
        rest = rest[inside:]
        if inside < len(child.edge):
            return Position(child, inside, length)
        node = child
    return Position(node, len(node.edge), length)


def split_node(node: Node, length: int, page_size: int = 1) -> Node:
    """Cut the edge of `node`, no root, after `length` tokens (whole pages, not all of it); return the new upper node.

    That replaces `node` under its parent and has the payload that `node.payload.split(num_pages)` gives. `node` becomes
    its only child and keeps the rest of the edge, its children and its identity: whoever holds `node` (a lock, a
    request that ends there) still holds the same whole path.
    """
    # A copy: a view would keep the memory of the whole edge after `node` has been removed.
    upper = Node(node.edge[:length].copy(), node.payload.split(length // page_size), parent=node.parent, key=node.key)
    node.parent.children[node.key] = upper
    node.edge = node.edge[length:]
    node.key = first_page(node.edge, page_size)
    node.parent = upper
    upper.children[node.key] = node
    return upper


def cut_at(position: Position, page_size: int = 1) -> Node:
    """The node that ends exactly at `position`: if that is inside an edge, the upper node of a split there."""
    node, inside, _ = position
    return node if inside == len(node.edge) else split_node(node, inside, page_size)


def add_leaf(parent: Node, tokens: np.ndarray, payload: Any, page_size: int = 1) -> Node:
    """Hang a new leaf with the edge `tokens` (copied: the caller's array may change) under `parent`, and return it."""
    leaf = Node(tokens.copy(), payload, parent=parent, key=first_page(tokens, page_size))
    parent.children[leaf.key] = leaf
    return leaf


def remove_leaf(leaf: Node) -> Node:
    """Take a childless node out of its tree and return the parent that it had."""
    parent = leaf.parent
    del parent.children[leaf.key]
    leaf.parent = None
    return parent


def path_to(node: Node) -> list[Node]:
    """The nodes from the root to `node`, both included."""
    path = [node]
    while node.parent is not None:
        node = node.parent
        path.append(node)
    path.reverse()
    return path


def tokens_to(node: Node) -> np.ndarray:
    """All tokens from the root to the end of `node`."""
    return np.concatenate([step.edge for step in path_to(node)])


def iter_nodes(root: Node) -> Iterator[Node]:
    """`root` and every node below it, a parent before its children and children in the order they were added."""
    stack = [root]  # not recursive: a tree may be deeper than Python's stack
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(node.children.values()))


def check_links(root: Node, page_size: int = 1) -> None:
    """Raise AssertionError if the tree below `root` is not well formed: links both ways, keys, edges of whole pages."""
    assert (root.parent, len(root.edge)) == (None, 0), f"{root} is no root: it has a parent or an edge"
    for node in iter_nodes(root):
        for key, child in node.children.items():
            assert child.parent is node, f"{child} is a child of {node}, but its parent is {child.parent}"
            whole = len(child.edge) > 0 and len(child.edge) % page_size == 0
            assert whole, f"{child}: its edge is not a whole number of pages of {page_size} tokens"
            first = first_page(child.edge, page_size)
            assert key == child.key == first, f"{child} is filed under {key} and says {child.key}, not {first}"


@dataclass(slots=True)
class RequestEnds:
    """The payload of `RadixTree`: the requests that end at a node, each with its place in the order of insertion."""

    order_of: dict[str, int] = field(default_factory=dict)

    def split(self, num_pages: int) -> RequestEnds:
        """Requests end at the end of an edge, so all of them stay below and nothing ends at the cut."""
        return RequestEnds()


class RadixTree:
    """Which requests share which prefix? A request is recorded only at the node where its tokens end: so neither an
    insertion nor a split gets slower when thousands share a system prompt."""

    def __init__(self) -> None:
        self.root = Node(np.empty(0, dtype=np.int64), RequestEnds())
        self._end_of: dict[str, Node] = {}  # in the order of insertion
        self._num_insertions = 0

    @property
    def request_to_path(self) -> dict[str, list[int]]:
        """The tokens of every request, by id, in the order of insertion."""
        return {request_id: tokens_to(node).tolist() for request_id, node in self._end_of.items()}

    def insert_request(self, request_id: str, token_ids: Sequence[int]) -> None:
        """Add a request with its tokens (copied). An id that is known already is moved to its new tokens."""
        checks.request_id("request_id", request_id)
        tokens = as_int_array(token_ids, "token_ids")
        if request_id in self._end_of:
            self.remove_request(request_id)
        position = match_prefix(self.root, tokens)
        node = cut_at(position)
        if position.length < len(tokens):
            node = add_leaf(node, tokens[position.length :], RequestEnds())
        node.payload.order_of[request_id] = self._num_insertions
        self._end_of[request_id] = node
        self._num_insertions += 1

    def remove_request(self, request_id: str) -> None:
        """Forget a request and every token that only it had. Raises KeyError if the id is unknown."""
        checks.request_id("request_id", request_id)
        if request_id not in self._end_of:
            raise KeyError(f"no request {request_id!r} in this tree, which holds {len(self._end_of)} requests")
        node = self._end_of.pop(request_id)
        del node.payload.order_of[request_id]
        if not node.children and not node.payload.order_of and node.parent is not None:
            node = remove_leaf(node)
        self._join_with_only_child(node)

    def _join_with_only_child(self, node: Node) -> None:
        """Undo a split that nothing needs any more. The child survives, because requests are recorded at it."""
        if node.parent is None or node.payload.order_of or len(node.children) != 1:
            return
        (child,) = node.children.values()
        child.edge = np.concatenate([node.edge, child.edge])
        child.key, child.parent = node.key, node.parent
        node.parent.children[node.key] = child

    def find_shared_prefixes(self, token_ids: Sequence[int]) -> tuple[list[str], int]:
        """The ids of requests that share the longest known prefix of `token_ids`, and the length of that prefix.

        Every one of them begins with `token_ids[:length]`, no request begins with one token more, and they come in the
        order of insertion. Nothing in common is ([], 0). A known prompt is matched in full.
        """
        node, _, length = match_prefix(self.root, as_int_array(token_ids, "token_ids"))
        return (self._ids_below(node) if length else []), length

    def _ids_below(self, node: Node) -> list[str]:
        """The requests that pass through or end at `node`, in the order of insertion."""
        order_of: dict[str, int] = {}
        for below in iter_nodes(node):
            order_of |= below.payload.order_of
        return sorted(order_of, key=order_of.__getitem__)

    def get_shared_computation_graph(self) -> dict[str, Any]:
        """The tree as plain data, to draw it or to count what is shared.

        Each node, parents first and the root at 0, has an `id`, the `tokens` of its edge, `start` (how many come before
        them) and `request_ids` (all that pass through or end there). `edges`: (id of the parent, of the child).
        """
        number = {node: i for i, node in enumerate(iter_nodes(self.root))}
        start = {self.root: 0}
        nodes, edges = [], []
        for node, i in number.items():
            if node.parent is not None:
                start[node] = start[node.parent] + len(node.parent.edge)
                edges.append((number[node.parent], i))
            request_ids = self._ids_below(node)
            nodes.append({"id": i, "tokens": node.edge.tolist(), "start": start[node], "request_ids": request_ids})
        return {
            "request_count": len(self._end_of),
            "nodes": nodes,
            "edges": edges,
            "request_to_path": self.request_to_path,
        }
