from __future__ import annotations

from yaie.course.expect import expect, given

from ..common import Cached, expect_locked, make_pages, make_request

PUBLISH_CASES: tuple[tuple[int, Cached, Cached, list[int], list[int], int, int], ...] = (
    # page size; cached before the request began; published by twins since then;
    # tokens, block table, computed tokens and reused tokens of the request
    (2, [], [], [1, 2, 3, 4, 5, 6], [0, 1, 2], 5, 0),
    (2, [([1, 2], [3])], [], [1, 2, 3, 4, 5, 6], [3, 0, 1], 4, 2),
    (2, [([1, 2], [0])], [([1, 2, 3, 4], [0, 4])], [1, 2, 3, 4, 5, 6, 7], [0, 7, 5, 2], 6, 2),
    (2, [], [([1, 2, 3, 4], [6, 5])], [1, 2, 3, 4, 5], [0, 1, 2], 4, 0),
    (1, [], [([1], [4])], [1, 2, 3], [2, 0, 5], 2, 0),
    (4, [], [], [1, 2, 3, 4, 5], [6, 1], 3, 0),
    (3, [([1, 2, 3], [5])], [([1, 2, 3, 9, 9, 9], [5, 7])], [1, 2, 3, 4, 5, 6, 7], [5, 4, 0], 6, 3),
)


def check() -> None:
    for size, before, twins, tokens, table, computed, reused in PUBLISH_CASES:
        pages = make_pages(8, size, before)
        kv = pages.kv
        pages.num_duplicates = 3  # of calls before this one
        request = make_request(tokens)
        node = pages.cache.match(tokens[:reused]).node
        request.hold(node, reused, computed)
        pages.cache.lock(node)
        for published, where in twins:
            pages.cache.insert(published, where)
        known = {}  # beginning of a prompt -> the page that holds its last tokens
        for published, where in (*before, *twins):
            for index, page in enumerate(where):
                known[tuple(published[: (index + 1) * size])] = page
        for page in known.values():
            kv.ref_counts[page] = kv.cache_refs[page] = 1
        for page in table:
            kv.ref_counts[page] += 1
        kv.free_block_list[:] = [page for page in range(8) if kv.ref_counts[page] == 0]
        kv.block_tables["A"], kv.context_lens["A"] = list(table), len(tokens)

        num_whole = computed // size
        new_table = list(table)
        for index in range(num_whole):
            new_table[index] = known.setdefault(tuple(tokens[: (index + 1) * size]), table[index])
        kept = sorted(known.values())
        in_use = {*kept, *new_table}

        others = "; ".join(f"{known} in the pages {where}" for known, where in (*before, *twins)) or "nothing"
        with given(
            f"publish(request): tokens {tokens}, {computed} of them computed, block table {table}, {reused} tokens "
            f"found in the cache when it began; pages of {size}; cached now: {others}"
        ):
            pages.publish(request)
            references = {page: count for page, count in enumerate(kv.cache_refs) if count}
            expect(references, dict.fromkeys(kept, 1), "references that the cache holds, for each page")
            expect(sorted(kv.free_block_list), sorted({*range(8)} - in_use), "free pages afterwards")
            expect(kv.block_tables["A"], new_table, "block table of the request afterwards")
            expect(pages.num_duplicates, 3 + len({*table} - {*new_table}), "pages.num_duplicates, which was 3 before,")
            expect(request.num_published_tokens, num_whole * size, "request.num_published_tokens")
            expect(request.num_computed_tokens, computed, "request.num_computed_tokens (as before)")
            expect_locked(request, tokens[: num_whole * size])
            expect(pages.cache.protected_size, num_whole, "number of pages that are locked in the cache")
            pages.cache.unlock(request.locked_node)
            expect(pages.cache.protected_size, 0, "number of locked pages once the request has unlocked its node")
    _check_cache_that_keeps_nothing()


def _check_cache_that_keeps_nothing() -> None:
    pages = make_pages(8, 2, prefix_cache=False)
    request = make_request([1, 2, 3, 4, 5])
    node = pages.cache.match([]).node
    pages.cache.lock(node)
    request.hold(node, 0, 4)
    pages.kv.allocate_blocks("A", 5)
    with given("publish(request): 4 of 5 tokens computed, pages of 2; an engine with prefix_cache=False"):
        pages.publish(request)
        expect(pages.kv.cache_refs, [0] * 8, "references that the cache holds, page by page")
        expect(pages.kv.block_tables["A"], [0, 1, 2], "block table of the request afterwards")
        expect(request.num_published_tokens, 0, "request.num_published_tokens")
        expect(request.num_computed_tokens, 4, "request.num_computed_tokens (as before)")
