"""Exercises of lesson 01: A radix tree for shared prefixes.

Each function below belongs to the engine; its body has been taken out. Write it, save the file, check it:
`yaie.exercise("1.1").check()` in the notebook, or `yaie check 1.1` in a terminal.
Functions that you have not written yet are filled in with the engine's own, so any order works.
"""
# generated, text hash 40a10d2fc50f4adc

from __future__ import annotations

import heapq
from collections.abc import Hashable, Sequence

import numpy as np

from yaie.engine import prefix_cache
from yaie.kernels import radix_tree
from yaie.kernels.radix_tree import Node, Position, common_prefix_length, first_page


# ---------- Exercise 1.1: Match a prefix (about 20 minutes) ----------
def match_prefix(root: Node, tokens: np.ndarray, page_size: int = 1) -> Position:
    """Walk from `root` along `tokens` as far as the tree goes and say where the walk stopped. Changes nothing.

    At each node, look up the child whose first page is the next page of `tokens`, and compare its edge with what is
    left of `tokens`. If the whole edge agrees, step into the child and go on; if only a part of it does, stop inside
    the edge. With pages only whole pages count: a stop inside an edge is rounded down to a multiple of `page_size`.

    Args:
        root: where to start; its edge is empty
        tokens: [num_tokens] int64
        page_size: tokens per page

    Returns:
        Position(node, inside, length): the last node reached, how many tokens of its edge matched (all of them if the
        walk stopped at its end), and how many tokens matched in all. No match at all is Position(root, 0, 0).

    Example: with the edges [1 2] -> [3 4 5], the tokens [1, 2, 3, 9] stop at Position(node of [3 4 5], 1, 3).
    Helpers: `first_page(tokens, page_size)`, `common_prefix_length(a, b)`.
    """
    raise NotImplementedError("exercise 1.1: write this function")


# ---------- Exercise 1.2: Split an edge (about 15 minutes) ----------
def split_node(node: Node, length: int, page_size: int = 1) -> Node:
    """Cut the edge of `node` after `length` tokens and return the new node that now ends there.

    The new, upper node takes the place of `node` under its parent, with the first `length` tokens of the edge and with
    `node.payload.split(length)` as its payload. `node` becomes its only child and keeps the rest of the edge, its
    children and its identity: whoever holds `node` (a lock, a request that ends there) still holds the same whole path.

    before:  parent --[1 2 3 4]--> node            after, length 3:  parent --[1 2 3]--> upper --[4]--> node

    Args:
        node: not a root
        length: 0 < length < len(node.edge), a multiple of `page_size`
        page_size: tokens per page

    Mind the four links (parent to upper, upper to parent, upper to node, node to upper) and the two keys: `upper` takes
    over `node.key`, and `node` needs the one of its shorter edge, `first_page(node.edge, page_size)`.
    """
    raise NotImplementedError("exercise 1.2: write this function")


class PrefixCache(prefix_cache.PrefixCache):
    """The engine's `PrefixCache`. The methods below replace its own; everything else is inherited."""

    # ---------- Exercise 1.3: Insert with a split (about 20 minutes) ----------
    def insert(self, tokens: Sequence[int], slots: Sequence[int], namespace: Hashable = None) -> int:
        """Publish computed KV: from now on `tokens` are found, and the cache owns the slots that it took.

        Tokens after the last whole page are left to the caller. What is present already keeps the slots it has; the
        rest is hung on the tree as one new leaf, under a node that is split if the match stopped inside its edge.

        Args:
            tokens: [num_tokens]
            slots: [num_tokens], where the KV of each token lies; one per token for every page size

        Returns:
            present: how many tokens were there already. The cache took `slots[present:]` up to the last whole page. It
            did not take `slots[:present]`: what of them did not come from `match` is a duplicate, which the caller
            stops reading and frees (see the top of this file).

        Given: `self._whole_pages(tokens, slots)` checks and trims both; `self._root_of(namespace)` is where the walk
        starts. Then find the position (`radix_tree.match_prefix`), get the node that ends there
        (`radix_tree.cut_at`), add a leaf for what is missing (`self._add_leaf(node, tokens, slots)`), and mark the
        whole path as used (`self._touch(radix_tree.path_to(node))`).
        """
        raise NotImplementedError("exercise 1.3: write this function")

    # ---------- Exercise 1.4: Evict the least recently used, under locks (about 25 minutes) ----------
    def evict(self, num_tokens: int) -> np.ndarray:
        """Free at least `num_tokens` tokens, or all that can be freed if that is less, and return their slots.

        Takes whole leaves, the smallest `self._priority(leaf)` first (for "lru" the one not used for longest), until
        enough is freed; so it may free more than asked. Never takes a node that has children or is locked. A parent
        that has lost its last child is a leaf itself and competes with the others.

        The candidates lie in the heap `self._queue` of (priority, serial, node). Take the smallest entry off with
        `heapq.heappop` and set its `node.payload.queued = False`. Entries may be out of date, so look again:
        - `self._is_evictable(node)` is False: it was locked or extended meanwhile. Drop the entry.
        - its priority is no longer `self._priority(node)`: it was used meanwhile. Put it back by `self._offer(node)`.
        - else evict it: keep its slots, `parent = self._remove_leaf(node)`, and `self._offer(parent)`, which queues a
          node only if it can be evicted.

        Returns:
            [num_freed] int64, which the caller gives back to the pool; empty if nothing could be freed

        Raises ValueError if `num_tokens` is negative.
        """
        raise NotImplementedError("exercise 1.4: write this function")
