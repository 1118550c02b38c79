from __future__ import annotations

from yaie.course.expect import expect, given

from ..common import Cached, expect_locked, make_pages, make_request

REUSE_CASES: tuple[tuple[int, Cached, list[int], int, list[int]], ...] = (
    # page size, cached (tokens, pages), tokens of the request, tokens found, pages found
    (1, [([5, 6], [3, 1])], [5, 6, 9], 2, [3, 1]),
    (2, [([5, 6, 7, 8], [3, 1])], [5, 6, 7, 8, 9], 4, [3, 1]),
    (2, [([5, 6, 7, 8], [3, 1])], [5, 6, 7, 8], 2, [3]),
    (1, [([5, 6], [3, 1])], [5, 6], 1, [3]),
    (2, [([5, 6, 7, 8], [3, 1])], [5, 6, 1, 2, 3], 2, [3]),
    (2, [([5, 6, 7, 8], [3, 1])], [4, 4, 4], 0, []),
    (4, [], [1], 0, []),
    (3, [([1, 2, 3, 4, 5, 6], [0, 4]), ([1, 2, 3, 7, 8, 9], [0, 2])], [1, 2, 3, 7, 8, 9, 1], 6, [0, 2]),
)


def check() -> None:
    for size, cached, tokens, length, expected in REUSE_CASES:
        pages = make_pages(8, size, cached)
        request = make_request(tokens)
        references = list(pages.kv.ref_counts)
        held = ", ".join(f"{known} in the pages {table}" for known, table in cached) or "nothing"
        with given(f"reuse(request with the tokens {tokens}); pages of {size}; cached: {held}"):
            found = pages.reuse(request)
            expect([type(found), *map(type, found)], [list, *[int] * len(expected)], "types: a list, of ints")
            expect(found, expected, "pages found (the result)")
            expect(
                pages.kv.ref_counts, references, "references on each page afterwards (as before: the lock holds them)"
            )
            expect(pages.cache.protected_size, len(expected), "number of pages that are locked in the cache afterwards")
            expect(request.num_computed_tokens, length, "request.num_computed_tokens")
            expect(request.num_published_tokens, length, "request.num_published_tokens")
            expect_locked(request, tokens[:length])
            pages.cache.unlock(request.locked_node)
            expect(pages.cache.protected_size, 0, "number of locked pages once the request has unlocked its node")
    pages = make_pages(8, 1, [([5], [3]), ([6], [1])])
    with given("pages of 1; cached: [5] in page 3, then [6] in page 1; reuse(request with [5, 9]), unlock, evict(1)"):
        request = make_request([5, 9])
        pages.reuse(request)
        pages.cache.unlock(request.locked_node)
        expect(pages.cache.evict(1), [1], "page that LRU evicts ([5] has just been used)")
