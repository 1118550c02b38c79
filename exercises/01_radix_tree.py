# Exercises of lesson 01: A radix tree for shared prefixes.
#
# Each function below belongs to the engine; its body has been taken out. Write it, save the file, check it:
# `yaie.exercise("1.1").check()` in the notebook, or `yaie check 1.1` in a terminal.
# Functions that you have not written yet are filled in with the engine's own, so any order works.
# generated, text hash 01aa6f8bc01133d5

from __future__ import annotations

import heapq
from collections.abc import Hashable, Sequence

import numpy as np

from yaie.engine import prefix_cache
from yaie.kernels import radix_tree
from yaie.kernels.radix_tree import Node, Position, common_prefix_length, first_page


# ---------- Exercise 1.1: Match a prefix (about 20 minutes) ----------
def match_prefix(root: Node, tokens: np.ndarray, page_size: int = 1) -> Position:
    """Walk down the tree along `tokens` and return the `Position` where the walk stops. It can stop at the end of
    an edge or in the middle of one. In a tree with the edges [1 2] and below it [3 4] and [8], the tokens [1,
    2, 3, 9] stop inside the edge [3 4] after 1 of its tokens, 3 tokens away from the root.
    """
    raise NotImplementedError("exercise 1.1: write this function")


# ---------- Exercise 1.2: Split an edge (about 15 minutes) ----------
def split_node(node: Node, length: int, page_size: int = 1) -> Node:
    """Cut the edge of `node` after `length` tokens. A new node takes over the first part of the edge and becomes
    the parent of `node`, which keeps the rest, its children and its identity. Cutting [1 2 3 4] after 3 tokens
    gives [1 2 3] and below it [4].
    """
    raise NotImplementedError("exercise 1.2: write this function")


class PrefixCache(prefix_cache.PrefixCache):
    """The engine's `PrefixCache`. The methods below replace its own; all others are inherited."""

    # ---------- Exercise 1.3: Insert with a split (about 20 minutes) ----------
    def insert(self, tokens: Sequence[int], slots: Sequence[int], namespace: Hashable = None) -> int:
        """Store tokens with the slots of their keys and values, and return how many of the tokens were there already.
        A cache that holds [1 2 3 4] and gets [1 2 8] splits the edge after 2 tokens, adds the leaf [8], and returns
        2.
        """
        raise NotImplementedError("exercise 1.3: write this function")

    # ---------- Exercise 1.4: Evict the least recently used, under locks (about 25 minutes) ----------
    def evict(self, num_tokens: int) -> np.ndarray:
        """Free at least `num_tokens` tokens by removing leaves, the least recently used first, and return their slots.
        A locked path is never touched. A parent that has lost its last child becomes a leaf and can go next.
        """
        raise NotImplementedError("exercise 1.4: write this function")
