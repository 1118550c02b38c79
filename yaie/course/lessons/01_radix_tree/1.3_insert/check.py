from __future__ import annotations

from yaie.course.expect import expect, given
from yaie.engine import prefix_cache

from ..common import integrity


def check() -> None:
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
            integrity(cache)


def _check_insert_touches() -> None:
    cache = prefix_cache.PrefixCache()
    cache.insert([1, 2], [10, 11])
    cache.insert([5, 6], [20, 21])
    with given("insert([1, 2], ...), insert([5, 6], ...), insert([1, 2], ...) again, then evict(2)"):
        cache.insert([1, 2], [30, 31])
        expect(sorted(cache.evict(2).tolist()), [20, 21], "slots that LRU evicts (those of [5, 6], used before [1, 2])")
