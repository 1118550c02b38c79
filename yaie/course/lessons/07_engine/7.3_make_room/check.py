from __future__ import annotations

from yaie.course.expect import expect, given

from ..common import Cached, make_pages

ROOM_CASES: tuple[tuple[int, Cached, list[int], int, list[int] | None], ...] = (
    # page size, cached (oldest first), tokens that a request has locked, pages wanted,
    # pages evicted (None: there are not enough). The pool has 8 pages.
    (4, [([1] * 4, [0])], [], 7, []),
    (4, [([1] * 4, [0]), ([2] * 4, [1])], [], 7, [0]),
    (4, [([1] * 4, [0])], [], 9, None),
    (4, [([1] * 4, [0])], [1] * 4, 8, None),
    (1, [([1], [5]), ([2], [3]), ([3], [4])], [], 7, [5, 3]),
    (4, [([1] * 4, [0]), ([2] * 4, [1]), ([3] * 4, [2])], [], 7, [0, 1]),
    (4, [([1] * 4, [0]), ([2] * 4, [1]), ([3] * 4, [2])], [1] * 4, 8, None),
    (4, [([1] * 4, [0]), ([2] * 4, [1]), ([3] * 4, [2])], [1] * 4, 7, [1, 2]),
    (2, [([1] * 2, [0])], [], 0, []),
    (2, [([1, 2, 3, 4], [6, 7]), ([1, 2, 5, 6], [6, 5])], [], 8, [5, 6, 7]),
    (2, [([1, 2, 3, 4], [6, 7]), ([5, 6], [0])], [], 6, [6, 7]),
    (1, [([n], [n]) for n in range(6)], [], 3, [0]),
)


def check() -> None:
    for size, cached, locked, num_pages, evicted in ROOM_CASES:
        pages = make_pages(8, size, cached)
        if locked:
            pages.cache.lock(pages.cache.match(locked).node)
        pages.num_evicted = 2  # by calls before this one
        free = set(pages.kv.free_block_list)
        kept = set(range(8)) - free
        held = "; ".join(f"{tokens} in the pages {table}" for tokens, table in cached)
        lock = f"; {locked} locked" if locked else ""
        with given(f"make_room({num_pages}); pages of {size}, {len(free)} of 8 free; cached: {held}{lock}"):
            expect(pages.make_room(num_pages), evicted is not None, "whether there is room (the result)")
            gone = set(evicted or ())
            expect(pages.cache.total_size, len(kept) - len(gone), "number of pages in the cache afterwards")
            expect(sorted(pages.kv.free_block_list), sorted(free | gone), "free pages afterwards")
            expect(pages.num_evicted, 2 + len(gone), "pages.num_evicted, which was 2 before,")
            references = [int(page in kept - gone) for page in range(8)]
            expect(pages.kv.cache_refs, references, "references that the cache holds, page by page")
