# Exercises of lesson 01: A radix tree for shared prefixes.
#
# Each function is the engine's, with its body taken out or a mistake put in. Write or fix it, save, check:
# `yaie.exercise("1.1").check()` in the notebook, or `yaie check 1.1` in a terminal.
# Functions that you have not written yet are filled in with the engine's own, so any order works.
# generated, text hash 4ac0844dc4f10355

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np

from yaie.engine import prefix_cache
from yaie.engine.prefix_cache import Inserted, NO_PAGES
from yaie.kernels import radix_tree
from yaie.kernels.radix_tree import Node, Position, common_prefix_length, first_page


# ---------- Exercise 1.1: Match a prefix (about 20 minutes) ----------
def match_prefix(root: Node, tokens: np.ndarray, page_size: int = 1) -> Position:
    """Walk down a radix tree along `tokens` and return where the walk stops. That can be at the end of an
    edge or inside one. The tree stays as it is.

    - `root`: the node to start at; its edge is empty.
    - `tokens`: int64 `[num_tokens]`, perhaps none.
    - `page_size`: tokens per page. Every edge is a whole number of pages long.
    - Returns `Position(node, inside, length)`: the last node reached, how many tokens of its edge
      matched (all of them at the end of an edge), and how many tokens matched in all.

    In a tree with the edge `1 2`, and below it the edges `3 4` and `8`:

    | `tokens` | node | inside | length |
    |---|---|---|---|
    | `[1, 2, 3, 9]` | of `3 4` | 1 | 3 |
    | `[1, 2, 9]` | of `1 2` | 2 | 2 |
    | `[1, 7]` | of `1 2` | 1 | 1 |
    | `[7]` | the root | 0 | 0 |

    Only whole pages match. With pages of 2 tokens and the edge `1 2 3 4`, the tokens `[1, 2, 3]` give
    inside 2 and length 2.

    You may use `first_page(tokens, page_size)`, which is the key of a child that begins with these
    tokens in `node.children`, and `common_prefix_length(a, b)`: how many tokens two arrays share.
    """
    raise NotImplementedError("exercise 1.1: write this function")


# ---------- Exercise 1.2: Split an edge (about 15 minutes) ----------
def split_node(node: Node, length: int, page_size: int = 1) -> Node:
    """Cut the edge of `node` after `length` tokens. A new node, the upper one, gets the first part of the
    edge and becomes the parent of `node`, which keeps the rest and its children. Return the upper node.

    - `node`: not a root.
    - `length`: more than 0, less than the edge has, a multiple of `page_size`.
    - `page_size`: tokens per page.

    `node` stays the same object, so whoever holds it (a lock, a request that ends there) still holds
    the same whole path. Before, `parent` has the child `node` with the edge `1 2 3 4`. After
    `upper = split_node(node, 3)`:

    | what | is |
    |---|---|
    | `upper.edge`, `node.edge` | `1 2 3`, `4` |
    | `upper.key`, `node.key` | `(1,)`, `(4,)` |
    | `parent.children` | `{(1,): upper}` |
    | `upper.children` | `{(4,): node}` |
    | `upper.parent`, `node.parent` | `parent`, `upper` |

    The payload is cut as well: `node.payload.split(num_pages)` returns what belongs to the first pages
    of the edge and leaves the rest with `node`. It counts pages, not tokens.

    You may use `Node(edge, payload, parent, key)`, which starts without children, and
    `first_page(tokens, page_size)`: the key of a node whose edge is `tokens`.
    """
    raise NotImplementedError("exercise 1.2: write this function")


class PrefixCache(prefix_cache.PrefixCache):
    """The engine's `PrefixCache`. The methods below replace its own; all others are inherited."""

    # ---------- Exercise 1.3: Insert with a split (about 20 minutes) ----------
    def insert(self, tokens: Sequence[int] | np.ndarray, pages: Sequence[int] | np.ndarray) -> Inserted:
        """Publish computed tokens: from now on they are found. What the cache has already keeps its pages; the
        rest becomes one new leaf with the caller's pages.

        - `tokens`: `[num_tokens]`, a list or an array.
        - `pages`: entry `i` is the page in which keys and values of page `i` of the tokens lie.
        - Returns `Inserted(present, length, node)`: how many tokens were there before, how many are there
          now, and the node at which they end.

        Tokens after the last whole page are left out. A cache with pages of 2 tokens holds
        `[1, 2, 3, 4, 5, 6]` in the pages `[7, 8, 9]`. `insert([1, 2, 3, 4, 9, 9, 9], [20, 21, 22])` returns
        present 4, length 6 and the new leaf:

        | edge | its pages | |
        |---|---|---|
        | `1 2 3 4` | 7, 8 | the upper part of the cut edge |
        | `5 6` | 9 | the rest of it |
        | `9 9` | 22 | the new leaf |

        The whole path counts as used now. It does not count as hit: whoever publishes has not asked for
        anything. Where the number of pages does not fit, a `ValueError` is raised and nothing has changed.

        You may use `self._whole_pages(tokens, pages)`, both as arrays without the part after the last whole
        page, or the `ValueError`; `radix_tree.match_prefix`; `radix_tree.cut_at(position, self.page_size)`,
        the node that ends exactly there, split off if need be; `radix_tree.path_to(node)`;
        `self._add_leaf(parent, tokens, pages)`; and `self._use(path)`, which marks nodes as used now.
        """
        raise NotImplementedError("exercise 1.3: write this function")

    # ---------- Exercise 1.4: Evict the least recently used, under locks (about 25 minutes) ----------
    def evict(self, num_pages: int) -> np.ndarray:
        """Free at least `num_pages` pages, or all that can be freed if that is less, and return them: int64,
        empty if there are none. Only whole leaves go, so it may free more than it was asked for.

        The leaf with the smallest `self._priority(node)` goes first; for "lru" that is the one not used for
        the longest time. A node that is locked or has children stays. A parent that has lost its last child
        is a leaf from then on and competes with the others.

        | the cache holds, oldest first | `evict` | result |
        |---|---|---|
        | `[1, 2]` in pages 10, 11; `[5, 6]` in 20, 21 | 1 | 10, 11 |
        | the same, `[1, 2]` was matched since | 1 | 20, 21 |
        | the same, `[1, 2]` is locked | 4 | 20, 21 |

        (Pages of one token.) A negative number raises a `ValueError`.

        `self._queue` is a heap of (priority, serial, node) with an entry for every evictable leaf. An entry
        may be out of date: its node was locked, got a child or was used since. Priorities only grow. A node
        whose entry you take off the heap gets `node.payload.queued = False`. Afterwards every leaf that can
        be evicted must have an entry with `queued` set again.

        You may use `heapq.heappop(self._queue)`; `self._is_evictable(node)`; `self._offer(node)`, which
        queues a node if it is evictable and has no entry; `self._remove_leaf(node)`, which takes a leaf out
        of the tree and returns its parent; and `node.payload.pages`, an array.
        """
        raise NotImplementedError("exercise 1.4: write this function")
