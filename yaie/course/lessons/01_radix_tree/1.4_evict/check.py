from __future__ import annotations

from typing import Any

import numpy as np

from yaie.course.expect import expect, expect_error, given
from yaie.engine import prefix_cache
from yaie.kernels import radix_tree

from ..common import integrity


def check() -> None:
    for steps, num_tokens in EVICT_CASES:
        cache, text = _play(steps)
        with given(f"{text}; evict({num_tokens})"):
            expected = _evict_slowly(cache, num_tokens)
            freed = cache.evict(num_tokens)
            expect(isinstance(freed, np.ndarray), True, "type of the result: an array of slots")
            expect(sorted(freed.tolist()), expected, "freed slots")
            integrity(cache)
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
