from __future__ import annotations

import numpy as np

from yaie.course.expect import expect, given
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
    for edge, length, page_size in (([1, 2], 1, 1), ([1, 2, 3, 4], 3, 1), ([1, 2, 3, 4, 5, 6], 4, 2)):
        letters, cut = "abcd"[: len(edge) // page_size], length // page_size
        root = radix_tree.Node(np.empty(0, dtype=np.int64), _Letters(""))
        node = radix_tree.add_leaf(root, np.array(edge, dtype=np.int64), _Letters(letters), page_size)
        below = radix_tree.add_leaf(node, np.array([7] * page_size, dtype=np.int64), _Letters("z"), page_size)
        pages = f", page_size={page_size}" if page_size > 1 else ""
        with given(f"upper = split_node(node with the edge {edge}, {length}{pages})"):
            upper = radix_tree.split_node(node, length, page_size)
            expect(isinstance(upper, radix_tree.Node) and upper is not node, True, "result: a new node")
            expect(upper.edge.tolist(), edge[:length], "edge of upper")
            expect(node.edge.tolist(), edge[length:], "edge of node")
            expect(upper.payload.text, letters[:cut], "payload of upper (one letter per page)")
            expect(node.payload.text, letters[cut:], "payload of node (one letter per page)")
            expect(upper.parent is root, True, "`upper.parent is parent`")
            expect(list(root.children.values()) == [upper], True, "`parent.children` (only upper)")
            expect(node.key, tuple(edge[length : length + page_size]), "key of node")
            expect(
                list(upper.children.items()) == [(node.key, node)], True, "`upper.children` (only node, under its key)"
            )
            expect(node.parent is upper, True, "`node.parent is upper`")
            expect(list(node.children.values()) == [below], True, "`node.children` (as before)")
            expect(upper.key, tuple(edge[:page_size]), "key of upper")
