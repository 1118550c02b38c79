from __future__ import annotations

from yaie.course.expect import expect, given
from yaie.engine.prefix_cache import PrefixCache

from ..common import evicted_after


def check() -> None:
    for prompts, victim in (
        ([[1], [2]], [[1]]),
        ([[1], [1], [2]], [[2]]),
        ([[1], [1], [1], [2, 3, 4], [2, 3, 4]], [[2], [2, 3], [2, 3, 4]]),
        ([[1], [1], [1], [2], [2], [1]], [[2]]),
    ):
        with given(f"prompts {prompts}, then evict(1) in an LFU cache"):
            expect(evicted_after(prompts), victim, "what was evicted")
    with given("prompts [7], [7, 8], [7, 8], [5], [5], then evict(2) in an LFU cache"):
        cache = PrefixCache(page_size=1, policy="lfu")
        for number, prompt in enumerate([[7], [7, 8], [7, 8], [5], [5]]):
            cache.match(prompt)
            cache.insert(prompt, [10 * number, 10 * number + 1][: len(prompt)])
        expect(sorted(cache.evict(2).tolist()), [11, 30], "pages that were evicted, of [8] and [5]")
