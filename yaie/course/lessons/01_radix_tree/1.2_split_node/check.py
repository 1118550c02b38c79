from __future__ import annotations

import numpy as np

from yaie.course.expect import expect, given, shown
from yaie.kernels import radix_tree


class _Letters:
    """A payload that shows how it was split: one letter per page of the edge."""

    def __init__(self, text: str) -> None:
        self.text = text

    def split(self, num_pages: int) -> _Letters:
        upper = _Letters(self.text[:num_pages])
        self.text = self.text[num_pages:]
        return upper


def check() -> None:
    for edge, length, page_size in (
        ([1, 2], 1, 1),
        ([1, 2, 3, 4], 3, 1),
        ([1, 2, 3, 4], 1, 1),
        ([1, 2, 3, 4, 5, 6], 4, 2),
        ([1, 2, 3, 1, 2, 3], 3, 3),
    ):
        letters, cut = "abcd"[: len(edge) // page_size], length // page_size
        root = radix_tree.Node(np.empty(0, dtype=np.int64), _Letters(""))
        parent = radix_tree.add_leaf(root, np.array([5] * page_size, dtype=np.int64), _Letters("p"), page_size)
        sibling = radix_tree.add_leaf(parent, np.array([8] * page_size, dtype=np.int64), _Letters("s"), page_size)
        node = radix_tree.add_leaf(parent, np.array(edge, dtype=np.int64), _Letters(letters), page_size)
        child = radix_tree.add_leaf(node, np.array([7] * page_size, dtype=np.int64), _Letters("z"), page_size)
        key_of = {each: tuple(each.edge[:page_size].tolist()) for each in (sibling, child)}
        pages = f", page_size={page_size}" if page_size > 1 else ""
        with given(
            f"upper = split_node(node with the edge {edge} and one child, {length}{pages}); parent has a sibling"
        ):
            upper = radix_tree.split_node(node, length, page_size)
            names = {parent: "parent", sibling: "sibling", node: "node", child: "child"}
            expect(type(upper), radix_tree.Node, "type of the result")
            expect(names.get(upper, "a new node"), "a new node", "result (upper)")
            names[upper] = "upper"
            expect(upper.edge, edge[:length], "edge of upper")
            expect(node.edge, edge[length:], "edge of node")
            expect(_text(upper), letters[:cut], "payload of upper (one letter per page)")
            expect(_text(node), letters[cut:], "payload of node (one letter per page)")
            upper_key, node_key = tuple(edge[:page_size]), tuple(edge[length : length + page_size])
            expect(_name(upper.parent, names), "parent", "`upper.parent`")
            expect(upper.key, upper_key, "key of upper")
            expect(_children(parent, names), {key_of[sibling]: "sibling", upper_key: "upper"}, "`parent.children`")
            expect(node.key, node_key, "key of node")
            expect(_children(upper, names), {node_key: "node"}, "`upper.children`")
            expect(_name(node.parent, names), "upper", "`node.parent`")
            expect(_children(node, names), {key_of[child]: "child"}, "`node.children` (as before)")
            expect(_name(child.parent, names), "node", "`child.parent` (as before)")


def _text(node: radix_tree.Node) -> object:
    return node.payload.text if isinstance(node.payload, _Letters) else node.payload


def _name(node: object, names: dict[radix_tree.Node, str]) -> str:
    return names.get(node, "another node") if isinstance(node, radix_tree.Node) else shown(node)


def _children(node: radix_tree.Node, names: dict[radix_tree.Node, str]) -> dict[object, str]:
    return {key: _name(child, names) for key, child in node.children.items()}
