from __future__ import annotations

from typing import Any

import numpy as np

from yaie.course.expect import expect, expect_error, given
from yaie.engine import prefix_cache
from yaie.kernels import radix_tree

from ..common import integrity

EVICT_CASES: tuple[tuple[int, list[tuple[str, list[int]]], int], ...] = (
    # tokens per page, what was done before, pages asked for
    (1, [("insert", [1, 2])], 2),
    (1, [("insert", [1, 2])], 0),
    (1, [("insert", [1, 2]), ("insert", [5, 6, 7])], 1),
    (1, [("insert", [1, 2]), ("insert", [5, 6, 7])], 3),
    (1, [("insert", [1, 2]), ("insert", [5, 6]), ("match", [1, 2])], 2),
    (1, [("insert", [1, 2]), ("insert", [5, 6]), ("match", [1, 2])], 4),
    (1, [("insert", [1, 2, 3]), ("insert", [1, 2, 4])], 4),
    (1, [("insert", [1, 2]), ("insert", [5, 6]), ("lock", [1, 2])], 4),
    (1, [("insert", [1, 2, 3]), ("insert", [1, 2, 4]), ("lock", [1, 2])], 99),
    (1, [("insert", [1, 2, 3]), ("insert", [1, 2, 4]), ("insert", [1, 7]), ("insert", [8]), ("lock", [1, 7])], 3),
    (2, [("insert", [1, 2]), ("insert", [5, 6])], 2),
    (4, [("insert", [1, 2, 3, 4, 5, 6, 7, 8]), ("insert", [9] * 4), ("insert", [5] * 4)], 3),
)


def check() -> None:
    for page_size, steps, num_pages in EVICT_CASES:
        cache, text = _play(page_size, steps)
        size = f"pages of {page_size} tokens; " if page_size > 1 else ""
        with given(f"{size}{text}; evict({num_pages})"):
            expected = _evict_slowly(cache, num_pages)
            freed = cache.evict(num_pages)
            expect(isinstance(freed, np.ndarray), True, "type of the result: an array of pages")
            expect(sorted(freed.tolist()), expected, "freed pages")
            integrity(cache)
    cache, text = _play(1, [("insert", [1, 2])])
    with given(f"{text}; evict(-1)"):
        expect_error(lambda: cache.evict(-1), ValueError, "answer to a negative number")


def _play(page_size: int, steps: list[tuple[str, list[int]]]) -> tuple[prefix_cache.PrefixCache, str]:
    """A cache after the steps, and the steps as text. The pages of the n-th insert start at 10 * n."""
    cache = prefix_cache.PrefixCache(page_size)
    told: list[str] = []
    for action, tokens in steps:
        if action == "insert":
            pages = [10 * len(told) + 10 + i for i in range(len(tokens) // page_size)]
            cache.insert(tokens, pages)
            told.append(f"insert({tokens}, {pages})")
        elif action == "match":
            cache.match(tokens)
            told.append(f"match({tokens})")
        else:  # found without match(), which would mark the path as used
            cache.lock(radix_tree.cut_at(cache.find(tokens), page_size))
            told.append(f"lock(node of {tokens})")
    return cache, "; ".join(told)


def _evict_slowly(cache: prefix_cache.PrefixCache, num_pages: int) -> list[int]:
    """The pages to be freed, found by looking at every node each time; changes nothing."""
    left: dict[Any, int] = {node: len(node.children) for node in radix_tree.iter_nodes(cache.root)}
    freed: list[int] = []
    while len(freed) < num_pages:
        leaves = [
            node for node, children in left.items()
            if children == 0 and node is not cache.root and node.payload.lock_count == 0
        ]  # fmt: skip
        if not leaves:
            break
        oldest = min(leaves, key=lambda node: node.payload.last_used)
        freed += oldest.payload.pages.tolist()
        left.pop(oldest)
        left[oldest.parent] -= 1
    return sorted(freed)
