from __future__ import annotations

from typing import Any

from yaie.course.expect import expect, expect_error, given
from yaie.engine import prefix_cache
from yaie.kernels import radix_tree

from ..common import integrity

EVICT_CASES: tuple[tuple[int, list[tuple[str, list[int]]], int], ...] = (
    # tokens per page, what was done before, pages asked for
    (1, [("insert", [1, 2])], 2),
    (1, [("insert", [1, 2]), ("insert", [5, 6, 7])], 1),
    (1, [("insert", [1, 2])], 0),
    (1, [("insert", [1, 2]), ("insert", [5, 6, 7])], 3),
    (1, [("insert", [1, 2]), ("insert", [5, 6]), ("insert", [8, 9])], 2),
    (1, [("insert", [1, 2]), ("insert", [5])], 9),
    (1, [("insert", [1, 2]), ("insert", [5, 6]), ("match", [1, 2])], 2),
    (1, [("insert", [1, 2]), ("insert", [5, 6]), ("match", [1, 2])], 4),
    (1, [("insert", [1, 2, 3]), ("insert", [1, 2, 4])], 4),
    (1, [("insert", [1, 2]), ("insert", [5, 6]), ("lock", [1, 2])], 4),
    (1, [("insert", [1, 2, 3]), ("insert", [1, 2, 4]), ("lock", [1, 2])], 99),
    (1, [("insert", [1, 2, 3]), ("insert", [1, 2, 4]), ("insert", [1, 7]), ("insert", [8]), ("lock", [1, 7])], 3),
    (1, [("insert", [1, 2, 3]), ("insert", [9]), ("match", [1, 2])], 2),  # the parent is younger than the other leaf
    (1, [("insert", [1]), ("insert", [1, 2]), ("insert", [1, 2, 3]), ("insert", [9])], 3),  # a chain
    # an entry that is put back goes in among the others, not behind them
    (1, [("insert", [1]), ("insert", [2]), ("insert", [3]), ("insert", [4]), ("match", [1]), ("insert", [5])], 4),
    (2, [("insert", [1, 2]), ("insert", [5, 6])], 2),
    (4, [("insert", [1, 2, 3, 4, 5, 6, 7, 8]), ("insert", [9] * 4), ("insert", [5] * 4)], 3),
)

# Under "lfu" and "fifo", the leaf that was not used for the longest time is not the first to go.
POLICY_STEPS = [("insert", [1, 2]), ("insert", [5, 6]), ("insert", [8, 9]), ("match", [5, 6]), ("match", [1, 2])]


def check() -> None:
    for page_size, steps, num_pages in EVICT_CASES:
        _check_evict(page_size, steps, num_pages)
    _check_evict(1, POLICY_STEPS, 2, "lfu")
    _check_evict(1, [("insert", [1, 2]), ("match", [1, 2]), ("match", [1]), ("insert", [5, 6])], 2, "lfu")
    _check_evict(1, POLICY_STEPS, 2, "fifo")
    _check_evict(1, POLICY_STEPS, 4, "fifo")
    _check_evict(1, [("insert", [1]), ("insert", [1, 2])], 1, "fifo")
    _check_lock_in_between()
    _check_looks_at_few()
    cache, text = _play(1, [("insert", [1, 2])])
    with given(f"{text}; evict(-1)"):
        expect_error(lambda: cache.evict(-1), ValueError, "answer to a negative number")


def _check_evict(page_size: int, steps: list[tuple[str, list[int]]], num_pages: int, policy: str = "lru") -> None:
    cache, text = _play(page_size, steps, policy)
    size = f"pages of {page_size} tokens; " if page_size > 1 else ""
    words = f'policy "{policy}"; ' if policy != "lru" else ""
    with given(f"{size}{words}{text}; evict({num_pages})"):
        expected = _evict_slowly(cache, num_pages)
        freed = cache.evict(num_pages)
        expect(type(freed).__name__, "ndarray", "type of the result")
        expect(sorted(freed.tolist()), expected, "freed pages")
        expect(str(freed.dtype), "int64", "dtype of the result")
        integrity(cache)
        gone = [node.edge.tolist() for _, _, node in cache._queue if node.parent is None]
        expect(gone, [], "list of edges that are no longer in the tree and still have an entry in `_queue`")


def _check_lock_in_between() -> None:
    """What was locked while its entry came off the queue must be found when it is free again."""
    cache, text = _play(1, [("insert", [1, 2]), ("insert", [5, 6])])
    with given(f"{text}; lock(node of [1, 2]); evict(4); unlock(the same); evict(4)"):
        node = cache.find([1, 2]).node
        cache.lock(node)
        expect(sorted(cache.evict(4).tolist()), [20, 21], "pages freed while [1, 2] is locked")
        cache.unlock(node)
        integrity(cache)
        expect(sorted(cache.evict(4).tolist()), [10, 11], "pages freed after it was unlocked")


def _check_looks_at_few() -> None:
    """The queue is there so that nobody has to look at all leaves to find the first."""
    cache, looked_at = prefix_cache.PrefixCache(), set()
    for token in range(1000):
        cache.insert([token], [token])
    priority = cache._priority
    cache._priority = lambda node: (looked_at.add(node), priority(node))[1]
    with given("insert([i], [i]) for i = 0 to 999; evict(1)"):
        cache.evict(1)
        enough = f"{len(looked_at)} of 1,000" if len(looked_at) > 3 else "at most 3 of 1,000"
        note = "The smallest entry of the heap `_queue` says where to look: the others can stay where they are."
        expect(enough, "at most 3 of 1,000", "number of leaves whose priority was asked for", note=note)


def _play(
    page_size: int, steps: list[tuple[str, list[int]]], policy: str = "lru"
) -> tuple[prefix_cache.PrefixCache, str]:
    """A cache after the steps, and the steps as text. The pages of the n-th insert start at 10 * n."""
    cache = prefix_cache.PrefixCache(page_size, policy)
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
        oldest = min(leaves, key=cache._priority)
        freed += oldest.payload.pages.tolist()
        left.pop(oldest)
        left[oldest.parent] -= 1
    return sorted(freed)
