from __future__ import annotations

from yaie.course.expect import expect, expect_error, given
from yaie.engine import prefix_cache
from yaie.kernels import radix_tree

from ..common import integrity


def check() -> None:
    for inserts, page_size in (
        ([[1, 2]], 1),
        ([[1, 2], [1, 2, 3]], 1),
        ([[1, 2, 3, 4], [1, 2, 8]], 1),
        ([[1, 2, 3], [1, 2]], 1),
        ([[1, 2, 3], [1, 2, 3]], 1),
        ([[1, 2, 3, 4], [1, 2, 5, 6]], 2),
        ([[1, 2, 3, 4, 5], [1, 2, 3, 9, 9], [1, 2, 3, 4, 7, 7]], 2),
        ([[1], [2, 3, 4]], 4),
        ([[1, 2, 3, 4, 5], [1, 2], [1, 2, 6], [6, 5], [1, 2, 3, 4, 5, 6]], 1),
    ):
        _check_inserts(inserts, page_size)
    _check_insert_uses()
    _check_insert_uses_the_path()
    _check_insert_uses_the_leaf()
    _check_insert_is_no_hit()
    _check_insert_refuses()


def _check_inserts(inserts: list[list[int]], page_size: int) -> None:
    """Insert one after another and compare with a dictionary: every stored run of pages and its last page."""
    cache = prefix_cache.PrefixCache(page_size)
    page_of: dict[tuple[int, ...], int] = {}
    ends_of_edges: set[tuple[int, ...]] = set()
    for number, tokens in enumerate(inserts):
        before = f" after {inserts[:number]}" if number else ""
        ends = range(page_size, len(tokens) + 1, page_size)
        # Every second caller has a page for the tokens after the last whole page as well.
        has_partial = len(tokens) % page_size > 0 and number % 2 == 0
        pages = [10 * (number + 1) + i for i in range(len(ends) + has_partial)]
        with given(f"PrefixCache(page_size={page_size}).insert({tokens}, {pages}){before}"):
            num_present = sum(tuple(tokens[:end]) in page_of for end in ends)
            found = cache.insert(tokens, pages)
            expect(type(found), prefix_cache.Inserted, "type of the result")
            expect(type(found.node), radix_tree.Node, "type of the result's node")
            expect(found.present, num_present * page_size, "number of tokens that were there already (present)")
            whole = len(ends) * page_size
            expect(found.length, whole, "number of tokens that are there now (length)")
            ends_of_edges |= {tuple(tokens[:end]) for end in (num_present * page_size, whole) if end}
            num_nodes = len(list(radix_tree.iter_nodes(cache.root))) - 1
            expect(num_nodes, len(ends_of_edges), "number of nodes below the root afterwards")
            for end, page in zip(ends, pages, strict=False):
                page_of.setdefault(tuple(tokens[:end]), page)
            match = cache.match(tokens)
            expect(match.length, whole, "number of tokens that match() finds afterwards")
            stored = [page_of[tuple(tokens[:end])] for end in ends]
            expect(match.pages, stored, "pages that match() finds afterwards")
            expect(radix_tree.tokens_to(found.node).tolist(), tokens[:whole], "path to the node in the result")
            expect(cache.total_size, len(page_of), "total_size, in pages")
            integrity(cache)


def _check_insert_uses() -> None:
    cache = prefix_cache.PrefixCache()
    cache.insert([1, 2], [10, 11])
    cache.insert([5, 6], [20, 21])
    with given("insert([1, 2], ...), insert([5, 6], ...), insert([1, 2], ...) again, then evict(2)"):
        cache.insert([1, 2], [30, 31])
        expect(sorted(cache.evict(2).tolist()), [20, 21], "pages that LRU evicts (those of [5, 6], used before [1, 2])")


def _check_insert_uses_the_path() -> None:
    """A node above the leaf shows when it was last used as soon as it is a leaf itself."""
    cache = prefix_cache.PrefixCache()
    cache.insert([1, 2, 3], [10, 11, 12])
    cache.insert([9], [20])
    other = cache.match([9]).node
    cache.lock(other)
    with given(
        "insert([1, 2, 3], [10, 11, 12]), insert([9], [20]), match([9]) and lock its node, insert([1, 2, 4], "
        "[10, 11, 30]), evict(2), unlock the node, then evict(1)"
    ):
        cache.insert([1, 2, 4], [10, 11, 30])
        expect(
            sorted(cache.evict(2).tolist()), [12, 30], "pages that the first evict frees (of the leaves [3] and [4])"
        )
        cache.unlock(other)
        expect(cache.evict(1), [20], "page that the second evict frees (of [9], used before the path of [1, 2, 4])")
    cache = prefix_cache.PrefixCache()
    cache.insert([1, 2], [10, 11])
    cache.insert([1, 2, 3], [10, 11, 12])
    cache.insert([9], [20])
    other = cache.match([9]).node
    cache.lock(other)
    with given(
        "insert([1, 2], [10, 11]), insert([1, 2, 3], [10, 11, 12]), insert([9], [20]), match([9]) and lock its node, "
        "insert([1, 2, 3], [10, 11, 12]) again, evict(1), unlock the node, then evict(1)"
    ):
        cache.insert([1, 2, 3], [10, 11, 12])
        expect(cache.evict(1), [12], "page that the first evict frees (of the leaf [3])")
        cache.unlock(other)
        expect(cache.evict(1), [20], "page that the second evict frees (of [9], used before the path of [1, 2, 3])")


def _check_insert_uses_the_leaf() -> None:
    """A new leaf was used before whatever comes next, also where their order in the eviction queue says otherwise."""
    cache = prefix_cache.PrefixCache()
    cache.insert([5, 6], [20, 21])
    with given(
        "insert([5, 6], [20, 21]), insert([1, 2], [10, 11]) and lock its node, match([5, 6]) and lock its node, "
        "evict(4), which frees nothing, unlock the node of [5, 6], then that of [1, 2], then evict(1)"
    ):
        first = cache.insert([1, 2], [10, 11]).node
        cache.lock(first)
        second = cache.match([5, 6]).node
        cache.lock(second)
        expect(cache.evict(4), [], "pages that the first evict frees (all are locked)")
        cache.unlock(second)
        cache.unlock(first)
        expect(cache.evict(1), [10, 11], "pages that the second evict frees (of [1, 2], used before [5, 6])")


def _check_insert_is_no_hit() -> None:
    cache = prefix_cache.PrefixCache(policy="lfu")
    with given('policy "lfu": insert([1], [10]), match([1]), insert([2], [20]) three times, then evict(1)'):
        cache.insert([1], [10])
        cache.match([1])
        for _ in range(3):
            cache.insert([2], [20])
        expect(cache.evict(1), [20], "page that LFU evicts (that of [2], which no match has found)")


def _check_insert_refuses() -> None:
    for pages, what in (([7, 8, 9], "answer to 3 pages for 4 tokens"), ([7], "answer to 1 page for 4 tokens")):
        cache = prefix_cache.PrefixCache(page_size=2)
        cache.insert([1, 2, 3, 4], [7, 8])
        before = [node.edge.tolist() for node in radix_tree.iter_nodes(cache.root)]
        with given(f"pages of 2 tokens; insert([1, 2, 3, 4], [7, 8]), then insert([1, 2, 5, 6], {pages})"):
            expect_error(lambda: cache.insert([1, 2, 5, 6], pages), ValueError, what)  # noqa: B023
            nodes = [node.edge.tolist() for node in radix_tree.iter_nodes(cache.root)]
            expect(nodes, before, "list of edges afterwards, as before (the root's is empty)")
            expect(cache.total_size, 2, "total_size afterwards, as before")
