"""Lesson 01: the radix tree, and the prefix cache that is built on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from yaie.course.expect import expect, expect_error, given
from yaie.course.registry import Lesson, Mutant
from yaie.engine import prefix_cache
from yaie.kernels import radix_tree

LESSON = Lesson(1, "radix_tree", "A radix tree for shared prefixes", minutes=110)


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


MATCH_CASES: tuple[tuple[list[list[int]], list[int], int], ...] = (
    ([[1, 2]], [7], 1),
    ([[1, 2]], [1, 2], 1),
    ([[1, 9]], [1, 2, 3], 1),
    ([[1, 2, 3]], [1, 2], 1),
    ([[1, 2, 3, 4], [1, 2, 8]], [1, 2, 3, 4, 5], 1),
    ([[1, 2, 3, 4], [1, 2, 8]], [1, 2, 3, 9], 1),
    ([[1, 2, 3, 4], [1, 2, 8]], [1, 2, 9], 1),
    ([], [1, 2], 1),
    ([[1, 2]], [], 1),
    ([[1, 2, 3, 4]], [1, 2, 3], 2),
    ([[1, 2, 3, 4]], [1, 2, 3, 9], 2),
    ([[1, 2, 3, 4]], [1, 9, 3, 4], 2),
    ([[1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 4, 5, 9, 9, 9]], [1, 2, 3, 4, 5, 9, 9, 9, 9], 4),
)


@LESSON.exercise(
    "1.1",
    title="Match a prefix",
    target="yaie.kernels.radix_tree:match_prefix",
    minutes=20,
    task="Walk down the tree along `tokens` and return the `Position` where the walk stops. It can stop at the end of "
    "an edge or in the middle of one. In a tree with the edges [1 2] and below it [3 4] and [8], the tokens "
    "[1, 2, 3, 9] stop inside the edge [3 4] after 1 of its tokens, 3 tokens away from the root.",
    hints=(
        "Keep three things while you walk: the node you stand on, how many tokens have matched, and the tokens that "
        "are left. `node.children.get(first_page(rest, page_size))` is the only child that can go on, or None.",
        "`common_prefix_length(child.edge, rest)` says how far you get along the child's edge. Smaller than the length "
        "of the edge means that you stop inside it. Round it down to whole pages first.",
        "while there is such a child: inside = common prefix, minus inside % page_size; length += inside; rest = "
        "rest[inside:]; if inside < len(child.edge): return Position(child, inside, length); else node = child. After "
        "the loop: return Position(node, len(node.edge), length).",
    ),
    mutants=(
        Mutant(
            "        inside -= inside % page_size\n",
            "",
            "With pages only whole pages count: a stop inside an edge must be rounded down to a multiple of "
            "`page_size`.",
        ),
        Mutant(
            "        length += inside\n",
            "        length += len(child.edge)\n",
            "The whole edge was counted although only a part of it agrees with the tokens.",
        ),
        Mutant(
            "            return Position(child, inside, length)\n",
            "            return Position(node, len(node.edge), length - inside)\n",
            "The walk stopped at the node above: tokens that match a part of an edge count, too.",
        ),
        Mutant(
            "        rest = rest[inside:]\n",
            "",
            "After a step the search goes on with the tokens that are left, not with all tokens again.",
        ),
    ),
)
def check_match_prefix() -> None:
    for sequences, tokens, page_size in MATCH_CASES:
        root = build_tree(sequences, page_size)
        pages = f", page_size={page_size}" if page_size > 1 else ""
        with given(f"match_prefix(root of a tree that holds {sequences}, {tokens}{pages})"):
            found = radix_tree.match_prefix(root, np.array(tokens, dtype=np.int64), page_size)
            expect(
                isinstance(found, tuple) and len(found) == 3, True, "form of the result: Position(node, inside, length)"
            )
            node, inside, length = found
            best = max((_common(sequence, tokens) for sequence in sequences), default=0)
            expect(length, best // page_size * page_size, "number of matched tokens (length)")
            reached = _tokens_to(node)
            expect(reached[: len(reached) - len(node.edge) + inside], tokens[:length], "path to the position")
            expect(inside > 0 or node is root, True, "`inside > 0`, which holds everywhere but at the root")


class _Letters:
    """A payload that shows how it was split: one letter per token of the edge."""

    def __init__(self, text: str) -> None:
        self.text = text

    def split(self, length: int) -> _Letters:
        upper = _Letters(self.text[:length])
        self.text = self.text[length:]
        return upper


@LESSON.exercise(
    "1.2",
    title="Split an edge",
    target="yaie.kernels.radix_tree:split_node",
    minutes=15,
    requires=("1.1",),
    task="Cut the edge of `node` after `length` tokens. A new node takes over the first part of the edge and becomes "
    "the parent of `node`, which keeps the rest, its children and its identity. Cutting [1 2 3 4] after 3 tokens gives "
    "[1 2 3] and below it [4].",
    hints=(
        "Make the new upper node first, while `node` still has its old parent, key and edge.",
        "Four links change: the parent's `children` now hold upper under the old key, upper's parent is the old "
        "parent, node's parent is upper, and upper's `children` hold node under its new key.",
        "upper = Node(node.edge[:length], node.payload.split(length), parent=node.parent, key=node.key); "
        "node.parent.children[node.key] = upper; then shorten node.edge, set node.key to the first page of the new "
        "edge, set node.parent = upper, and add node to upper.children.",
    ),
    mutants=(
        Mutant(
            "    node.parent.children[node.key] = upper\n",
            "",
            "The parent still points at the old node, so a walk from the root never meets the new one.",
        ),
        Mutant(
            "    node.key = first_page(node.edge, page_size)\n",
            "",
            "The lower node starts with other tokens now, so it needs a new key: the first page of its shorter edge.",
        ),
        Mutant(
            "    node.parent = upper\n",
            "",
            "The lower node still points at its old parent, so the way back to the root leaves out the new node.",
        ),
        Mutant(
            "Node(node.edge[:length].copy(), node.payload.split(length),",
            "Node(node.edge[:length].copy(), node.payload,",
            "Both nodes share one payload. `payload.split(length)` gives the upper node its part and leaves the rest.",
        ),
    ),
)
def check_split_node() -> None:
    for edge, length, page_size in (([1, 2], 1, 1), ([1, 2, 3, 4], 3, 1), ([1, 2, 3, 4, 5, 6], 4, 2)):
        root = radix_tree.Node(np.empty(0, dtype=np.int64), _Letters(""))
        node = radix_tree.add_leaf(root, np.array(edge, dtype=np.int64), _Letters("abcdefg"[: len(edge)]), page_size)
        below = radix_tree.add_leaf(
            node, np.array([7] * page_size, dtype=np.int64), _Letters("z" * page_size), page_size
        )
        pages = f", page_size={page_size}" if page_size > 1 else ""
        with given(f"upper = split_node(node with the edge {edge}, {length}{pages})"):
            upper = radix_tree.split_node(node, length, page_size)
            expect(isinstance(upper, radix_tree.Node) and upper is not node, True, "result: a new node")
            expect(upper.edge.tolist(), edge[:length], "edge of upper")
            expect(node.edge.tolist(), edge[length:], "edge of node")
            expect(upper.payload.text, "abcdefg"[:length], "payload of upper (one letter per token)")
            expect(node.payload.text, "abcdefg"[length : len(edge)], "payload of node (one letter per token)")
            expect(upper.parent is root, True, "`upper.parent is parent`")
            expect(list(root.children.values()) == [upper], True, "`parent.children` (only upper)")
            expect(node.key, tuple(edge[length : length + page_size]), "key of node")
            expect(
                list(upper.children.items()) == [(node.key, node)], True, "`upper.children` (only node, under its key)"
            )
            expect(node.parent is upper, True, "`node.parent is upper`")
            expect(list(node.children.values()) == [below], True, "`node.children` (as before)")
            expect(upper.key, tuple(edge[:page_size]), "key of upper")


def _integrity(cache: prefix_cache.PrefixCache) -> None:
    """Turn what `check_integrity` finds into a failed expectation."""
    try:
        cache.check_integrity()
        complaint = "nothing"
    except RuntimeError as error:
        complaint = str(error)
    expect(complaint, "nothing", "what check_integrity() complains of afterwards")


@LESSON.exercise(
    "1.3",
    title="Insert with a split",
    target="yaie.engine.prefix_cache:PrefixCache.insert",
    minutes=20,
    requires=("1.1", "1.2"),
    task="Store tokens with the slots of their keys and values, and return how many of the tokens were there already. "
    "A cache that holds [1 2 3 4] and gets [1 2 8] splits the edge after 2 tokens, adds the leaf [8], and returns 2.",
    hints=(
        "Find out first how far the tree goes along the tokens. What it has, it keeps; you only add the rest.",
        "`radix_tree.match_prefix(self._root_of(namespace), tokens, self.page_size)` gives the position, and "
        "`radix_tree.cut_at(position, self.page_size)` a node that ends exactly there, split or not.",
        "tokens, slots = self._whole_pages(tokens, slots); position = ...; node = cut_at(...); if position.length < "
        "len(tokens): node = self._add_leaf(node, tokens[position.length:], slots[position.length:]); "
        "self._touch(radix_tree.path_to(node)); return position.length.",
    ),
    mutants=(
        Mutant(
            "self._add_leaf(node, tokens[position.length :], slots[position.length :])",
            "self._add_leaf(node, tokens, slots)",
            "The new leaf holds all tokens. It must hold only those that the tree does not have yet.",
        ),
        Mutant(
            "    return position.length\n",
            "    return len(tokens) - position.length\n",
            "That is the number of tokens that are new. The caller needs the number that was there already, because "
            "it frees its own copies of those.",
        ),
        Mutant(
            "slots[position.length :])",
            "slots[: len(tokens) - position.length])",
            "The leaf got the first slots instead of the last: slot i belongs to token i.",
        ),
        Mutant(
            "radix_tree.cut_at(position, self.page_size)",
            "position.node",
            "The walk stopped inside an edge and the edge was not cut there: the new leaf hangs below tokens that it "
            "does not share.",
        ),
        Mutant(
            "    self._touch(radix_tree.path_to(node))\n",
            "",
            "The path was not marked as used, so for LRU it looks older than it is.",
        ),
    ),
)
def check_insert() -> None:
    for inserts, page_size in (
        ([[1, 2]], 1),
        ([[1, 2], [1, 2, 3]], 1),
        ([[1, 2, 3, 4], [1, 2, 8]], 1),
        ([[1, 2, 3], [1, 2]], 1),
        ([[1, 2, 3], [1, 2, 3]], 1),
        ([[1, 2, 3, 4, 5], [1, 2, 3, 9, 9], [1, 2, 3, 4, 7, 7]], 2),
        ([[1], [2, 3, 4]], 4),
        ([[1, 2, 3, 4, 5], [1, 2], [1, 2, 6], [6, 5], [1, 2, 3, 4, 5, 6]], 1),
    ):
        _check_inserts(inserts, page_size)
    _check_insert_touches()


def _check_inserts(inserts: list[list[int]], page_size: int) -> None:
    """Insert one after another and compare with a dictionary: every stored run of pages and its last page's slots."""
    cache = prefix_cache.PrefixCache(page_size)
    slots_of: dict[tuple[int, ...], list[int]] = {}
    for number, tokens in enumerate(inserts):
        before = f" after {inserts[:number]}" if number else ""
        slots = [100 * (number + 1) + i for i in range(len(tokens))]
        with given(f"PrefixCache(page_size={page_size}).insert({tokens}, {slots}){before}"):
            ends = range(page_size, len(tokens) + 1, page_size)
            present = sum(tuple(tokens[:end]) in slots_of for end in ends) * page_size
            expect(cache.insert(tokens, slots), present, "number of tokens that were there already (the result)")
            for end in ends:
                slots_of.setdefault(tuple(tokens[:end]), slots[end - page_size : end])
            match = cache.match(tokens)
            expect(match.length, len(ends) * page_size, "number of tokens that match() finds afterwards")
            stored = [slot for end in ends for slot in slots_of[tuple(tokens[:end])]]
            expect(match.slots, stored, "slots that match() finds afterwards")
            expect(cache.total_size, len(slots_of) * page_size, "total_size, in tokens")
            _integrity(cache)


def _check_insert_touches() -> None:
    cache = prefix_cache.PrefixCache()
    cache.insert([1, 2], [10, 11])
    cache.insert([5, 6], [20, 21])
    with given("insert([1, 2], ...), insert([5, 6], ...), insert([1, 2], ...) again, then evict(2)"):
        cache.insert([1, 2], [30, 31])
        expect(sorted(cache.evict(2).tolist()), [20, 21], "slots that LRU evicts (those of [5, 6], used before [1, 2])")


@LESSON.exercise(
    "1.4",
    title="Evict the least recently used, under locks",
    target="yaie.engine.prefix_cache:PrefixCache.evict",
    minutes=25,
    requires=("1.3",),
    task="Free at least `num_tokens` tokens by removing leaves, the least recently used first, and return their slots. "
    "A locked path is never touched. A parent that has lost its last child becomes a leaf and can go next.",
    hints=(
        "Work in a loop: while too little is freed and the queue is not empty, take the smallest entry off the heap "
        "and decide what to do with its node. The docstring names the three cases.",
        "An entry in the heap may be out of date, because a node can be locked or used after it was queued. Check "
        "`self._is_evictable(node)` first, then compare the entry's priority with `self._priority(node)`.",
        "priority, _, node = heapq.heappop(self._queue); node.payload.queued = False; not evictable: continue; "
        "priority changed: self._offer(node), continue; else keep node.payload.slots, add their number to what is "
        "freed, parent = self._remove_leaf(node), self._offer(parent). At the end np.concatenate what you kept.",
    ),
    mutants=(
        Mutant(
            "if not self._is_evictable(node):",
            "if node.children:",
            "A locked node was evicted. Some request reads those pages right now.",
        ),
        Mutant(
            "        self._offer(parent)\n",
            "",
            "A parent that lost its last child is a leaf now, but it was not offered for eviction.",
        ),
        Mutant(
            "if priority != self._priority(node):",
            "if False:",
            "The entry's priority was out of date: the node was used after it was queued, so it is not the oldest.",
        ),
        Mutant(
            "            self._offer(node)\n            continue\n",
            "            continue\n",
            "An entry with an old priority was dropped. It has to be put back with the new one, or its node is never "
            "evicted.",
        ),
        Mutant(
            "num_freed += len(node.payload.slots)",
            "num_freed += 1",
            "Leaves were counted instead of tokens, so more was evicted than asked for.",
        ),
    ),
)
def check_evict() -> None:
    for steps, num_tokens in EVICT_CASES:
        cache, text = _play(steps)
        with given(f"{text}; evict({num_tokens})"):
            expected = _evict_slowly(cache, num_tokens)
            freed = cache.evict(num_tokens)
            expect(isinstance(freed, np.ndarray), True, "type of the result: an array of slots")
            expect(sorted(freed.tolist()), expected, "freed slots")
            _integrity(cache)
    cache, text = _play([("insert", [1, 2])])
    with given(f"{text}; evict(-1)"):
        expect_error(lambda: cache.evict(-1), ValueError, "answer to a negative number")


EVICT_CASES: tuple[tuple[list[tuple[str, list[int]]], int], ...] = (
    ([("insert", [1, 2])], 2),
    ([("insert", [1, 2])], 0),
    ([("insert", [1, 2]), ("insert", [5, 6, 7])], 1),
    ([("insert", [1, 2]), ("insert", [5, 6, 7])], 3),
    ([("insert", [1, 2]), ("insert", [5, 6]), ("match", [1, 2])], 2),
    ([("insert", [1, 2]), ("insert", [5, 6]), ("match", [1, 2])], 4),
    ([("insert", [1, 2, 3]), ("insert", [1, 2, 4])], 4),
    ([("insert", [1, 2]), ("insert", [5, 6]), ("lock", [1, 2])], 4),
    ([("insert", [1, 2, 3]), ("insert", [1, 2, 4]), ("lock", [1, 2])], 99),
    ([("insert", [1, 2, 3]), ("insert", [1, 2, 4]), ("insert", [1, 7]), ("insert", [8]), ("lock", [1, 7])], 3),
)


def _play(steps: list[tuple[str, list[int]]]) -> tuple[prefix_cache.PrefixCache, str]:
    """A cache after the steps, and the steps as text. The slots of the n-th insert start at 10 * n."""
    cache = prefix_cache.PrefixCache()
    told: list[str] = []
    for action, tokens in steps:
        if action == "insert":
            slots = [10 * len(told) + 10 + i for i in range(len(tokens))]
            cache.insert(tokens, slots)
            told.append(f"insert({tokens}, {slots})")
        elif action == "match":
            cache.match(tokens)
            told.append(f"match({tokens})")
        else:  # found without match(), which would mark the path as used
            position = radix_tree.match_prefix(cache.root, np.array(tokens, dtype=np.int64))
            cache.lock(radix_tree.cut_at(position))
            told.append(f"lock(node of {tokens})")
    return cache, "; ".join(told)


def _evict_slowly(cache: prefix_cache.PrefixCache, num_tokens: int) -> list[int]:
    """The slots to be freed, found by looking at every node each time; changes nothing."""
    left: dict[Any, int] = {node: len(node.children) for node in radix_tree.iter_nodes(cache.root)}
    freed: list[int] = []
    while len(freed) < num_tokens:
        leaves = [
            node for node, children in left.items()
            if children == 0 and node is not cache.root and node.payload.lock_count == 0
        ]  # fmt: skip
        if not leaves:
            break
        oldest = min(leaves, key=lambda node: node.payload.last_used)
        freed += oldest.payload.slots.tolist()
        left.pop(oldest)
        left[oldest.parent] -= 1
    return sorted(freed)
