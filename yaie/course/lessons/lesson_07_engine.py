"""Lesson 07: pages change hands between the pool, the requests and the prefix cache."""

from __future__ import annotations

from collections.abc import Sequence

from yaie.course.expect import expect, given
from yaie.course.registry import Lesson, Mutant
from yaie.engine.output import TextStream
from yaie.engine.pages import Pages
from yaie.engine.request import Request, Status
from yaie.engine.sampling_params import SamplingParams
from yaie.kernels import radix_tree
from yaie.kernels.kv_cache import KVCacheManager

LESSON = Lesson(7, "engine", "The engine with a prefix cache: your engine talks", minutes=90)

Cached = Sequence[tuple[list[int], list[int]]]  # tokens, and the pages that hold them


def _pages(num_blocks: int, size: int, cached: Cached = ()) -> Pages:
    """A pool whose prefix cache holds `cached`, put there without the functions under test."""
    pages = Pages(KVCacheManager(num_blocks, size, num_heads=1, head_dim=1))
    for tokens, table in cached:
        slots = [page * size + row for page in table for row in range(size)]
        pages.cache.insert(tokens, slots)
        for page in table:
            if page in pages.kv.free_block_list:
                pages.kv.free_block_list.remove(page)
                pages.kv.ref_counts[page] = pages.kv.cache_refs[page] = 1
    return pages


def _request(tokens: list[int]) -> Request:
    return Request("A", list(tokens), len(tokens), SamplingParams(), 0, 8, TextStream(None))


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


@LESSON.exercise(
    "7.1",
    title="Reuse a cached prefix",
    target="yaie.engine.pages:Pages.reuse",
    minutes=15,
    task="Find the longest cached prefix of a request, lock it, note on the request what need not be computed, and "
    "return the pages. With pages of 2 and [5, 6, 7, 8] cached in the pages 3 and 1, a request for [5, 6, 7, 8] gets "
    "[3] and computes 7 and 8.",
    hints=(
        "Ask the cache for all tokens but the last. Lock what it found before you do anything else.",
        "Slots are counted per token. `slots[::size]` is the first slot of each page, and that slot divided by the "
        "size is the number of the page.",
        "hit = self.cache.match(request.token_ids[:-1]); self.cache.lock(hit.node); set request.locked_node = hit.node "
        "and both counts to hit.length; return (hit.slots[::self.block_size] // self.block_size).tolist().",
    ),
    mutants=(
        Mutant(
            "request.token_ids[:-1]",
            "request.token_ids",
            "The last token was taken from the cache, too. It must be computed: its logits give the next token.",
        ),
        Mutant(
            "    self.cache.lock(hit.node)\n",
            "",
            "The match was not locked. The next eviction may give these pages to another request.",
        ),
        Mutant(
            "(hit.slots[:: self.block_size] // self.block_size).tolist()",
            "hit.slots.tolist()",
            "The result has the slots, one for each token. A block table has pages.",
        ),
        Mutant(
            "request.num_published_tokens = request.num_computed_tokens = hit.length",
            "request.num_published_tokens = hit.length",
            "`num_computed_tokens` was not set, so the engine would compute the found tokens again, and write into "
            "pages that others read.",
        ),
        Mutant(
            "    request.locked_node = hit.node\n",
            "",
            "The request does not remember what it has locked, so nobody can unlock it when the request ends.",
        ),
    ),
)
def check_reuse() -> None:
    for size, cached, tokens, length, expected in REUSE_CASES:
        pages = _pages(8, size, cached)
        request = _request(tokens)
        held = ", ".join(f"{known} in the pages {table}" for known, table in cached) or "nothing"
        with given(f"reuse(request with the tokens {tokens}); pages of {size}; cached: {held}"):
            expect(pages.reuse(request), expected, "pages found (the result)")
            expect(pages.cache.protected_size, length, "number of tokens that are locked in the cache afterwards")
            expect(request.num_computed_tokens, length, "request.num_computed_tokens")
            expect(request.num_published_tokens, length, "request.num_published_tokens")
            _expect_locked(request, tokens[:length])
            pages.cache.unlock(request.locked_node)
            expect(pages.cache.protected_size, 0, "number of locked tokens once the request has unlocked its node")


def _expect_locked(request: Request, tokens: list[int]) -> None:
    node = request.locked_node
    found = None if node is None else radix_tree.tokens_to(node).tolist()
    expect(found, tokens, "tokens on the path to request.locked_node")


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


@LESSON.exercise(
    "7.2",
    title="Publish what is computed",
    target="yaie.engine.pages:Pages.publish",
    minutes=20,
    requires=("7.1",),
    task="Hand the whole computed pages of a running request to the prefix cache. If a twin was first, read on from "
    "the twin's pages and free the duplicates. A request with the table [0, 7, 9] finds that the cache has page 4 for "
    "the tokens of its page 7: afterwards its table is [0, 4, 9], the cache has 0, 4 and 9, and page 7 is free.",
    hints=(
        "Follow the five steps of the docstring in order. Each is one or two lines.",
        "`slots[num_present::size] // size` are the pages that the cache took from you; retain those and no others. "
        "Lock the new node before the old one is unlocked.",
        "tokens, slots = self.computed_pages(request); present = self.cache.insert(tokens, slots); retain the pages of "
        "slots[present:]; whole = self.cache.match(tokens); lock whole.node; unlock request.locked_node; "
        "replace_prefix with the pages of whole.slots and count what it returns; set the two attributes.",
    ),
    mutants=(
        Mutant(
            "len(self.kv.replace_prefix(request.request_id, pages))",
            "len(self.kv._drop_references([page for page in self.kv.block_tables[request.request_id][: len(pages)] "
            "if page not in pages]))",
            "The duplicates were freed, but the block table still names them. The next request that gets these pages "
            "writes over what this one reads.",
        ),
        Mutant(
            "    tokens, slots = self.computed_pages(request)\n",
            "    computed, request.num_computed_tokens = request.num_computed_tokens, request.num_tokens\n"
            "    tokens, slots = self.computed_pages(request)\n"
            "    request.num_computed_tokens = computed\n",
            "Pages were published whose tokens are not all computed. Whoever finds them reads what was left there.",
        ),
        Mutant(
            "    self.cache.lock(whole.node)\n",
            "",
            "The published pages are not locked, so they can be evicted while this request reads them.",
        ),
        Mutant(
            "    self.cache.unlock(request.locked_node)\n",
            "",
            "The old lock was not given back. Its pages can never be evicted again.",
        ),
        Mutant(
            "slots[num_present :: self.block_size]",
            "slots[:: self.block_size]",
            "Pages were retained that the cache did not take: it had those tokens already. They never become free.",
        ),
        Mutant(
            "    request.locked_node = whole.node\n",
            "",
            "`request.locked_node` is still the old node, and the new lock will never be given back.",
        ),
    ),
)
def check_publish() -> None:
    for size, before, twins, tokens, table, computed, reused in PUBLISH_CASES:
        pages = _pages(8, size, before)
        kv = pages.kv
        request = _request(tokens)
        request.status = Status.RUNNING
        request.num_computed_tokens, request.num_published_tokens = computed, reused
        request.locked_node = pages.cache.match(tokens[:reused]).node
        pages.cache.lock(request.locked_node)
        for published, where in twins:
            pages.cache.insert(published, [page * size + row for page in where for row in range(size)])
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
            expect(kv.block_tables["A"], new_table, "block table of the request afterwards")
            references = {page: count for page, count in enumerate(kv.cache_refs) if count}
            expect(references, dict.fromkeys(kept, 1), "references that the cache holds, for each page")
            expect(sorted(kv.free_block_list), sorted({*range(8)} - in_use), "free pages afterwards")
            expect(pages.num_duplicates, len({*table} - {*new_table}), "pages.num_duplicates")
            expect(request.num_published_tokens, num_whole * size, "request.num_published_tokens")
            expect(request.num_computed_tokens, computed, "request.num_computed_tokens (as before)")
            _expect_locked(request, tokens[: num_whole * size])
            expect(pages.cache.protected_size, num_whole * size, "number of tokens that are locked in the cache")
            pages.cache.unlock(request.locked_node)
            expect(pages.cache.protected_size, 0, "number of locked tokens once the request has unlocked its node")


ROOM_CASES: tuple[tuple[int, Cached, list[int], int, list[int] | None], ...] = (
    # page size, cached (oldest first), tokens that somebody has locked, pages wanted,
    # pages evicted (None: there are not enough). The pool has 8 pages.
    (4, [([1] * 4, [0])], [], 7, []),
    (4, [([1] * 4, [0]), ([2] * 4, [1])], [], 7, [0]),
    (4, [([1] * 4, [0])], [1] * 4, 8, None),
    (1, [([1], [5]), ([2], [3]), ([3], [4])], [], 7, [5, 3]),
    (4, [([1] * 4, [0]), ([2] * 4, [1]), ([3] * 4, [2])], [], 7, [0, 1]),
    (4, [([1] * 4, [0]), ([2] * 4, [1]), ([3] * 4, [2])], [1] * 4, 8, None),
    (4, [([1] * 4, [0]), ([2] * 4, [1]), ([3] * 4, [2])], [1] * 4, 7, [1, 2]),
    (2, [([1] * 2, [0])], [], 0, []),
    (2, [([1, 2, 3, 4], [6, 7]), ([1, 2, 5, 6], [6, 5])], [], 8, [5, 6, 7]),
)


@LESSON.exercise(
    "7.3",
    title="Make room by eviction",
    target="yaie.engine.pages:Pages.make_room",
    minutes=15,
    requires=("7.1",),
    task="See that `num_pages` pages are free. If 3 are free and 5 are wanted, evict 2 pages: with pages of 4 tokens, "
    "ask the cache for 8 tokens. If it cannot give up that many, evict nothing and return False.",
    hints=(
        "How many pages are missing? If none, there is nothing to do. If more than can be evicted, leave all as it is.",
        "The cache counts tokens: `evictable_size // self.block_size` pages can be evicted, and "
        "`evict(missing * self.block_size)` evicts `missing` of them. Its result has one slot for each token.",
        "missing = num_pages - self.kv.num_free_blocks; return True if missing <= 0; return False if missing > "
        "self.cache.evictable_size // self.block_size; slots = self.cache.evict(missing * self.block_size); pages = "
        "(slots[::self.block_size] // self.block_size).tolist(); release them, count them, return True.",
    ),
    mutants=(
        Mutant(
            "self.cache.evict(missing * self.block_size)",
            "self.cache.evict(missing)",
            "`evict` counts tokens. Asked for as many tokens as pages are missing, it frees too few.",
        ),
        Mutant(
            "missing > self.cache.evictable_size // self.block_size",
            "False",
            "Nobody asked whether eviction can free enough, and the result says that there is room.",
        ),
        Mutant(
            "    if missing > self.cache.evictable_size // self.block_size:\n"
            "        return False\n"
            "    slots = self.cache.evict(missing * self.block_size)\n"
            "    pages = (slots[:: self.block_size] // self.block_size).tolist()\n"
            "    self.kv.release(pages)\n"
            "    self.num_evicted += len(pages)\n"
            "    return True\n",
            "    slots = self.cache.evict(missing * self.block_size)\n"
            "    pages = (slots[:: self.block_size] // self.block_size).tolist()\n"
            "    self.kv.release(pages)\n"
            "    self.num_evicted += len(pages)\n"
            "    return num_pages <= self.kv.num_free_blocks\n",
            "Pages were evicted although that was not enough. The request waits all the same, and what was worth "
            "keeping is lost.",
        ),
        Mutant(
            "    self.kv.release(pages)\n",
            "",
            "The pages are out of the cache and not on the free list: nobody has them any more.",
        ),
        Mutant(
            "self.num_evicted += len(pages)",
            "self.num_evicted += len(slots)",
            "`num_evicted` counts pages, and here it counted tokens.",
        ),
    ),
)
def check_make_room() -> None:
    for size, cached, locked, num_pages, evicted in ROOM_CASES:
        pages = _pages(8, size, cached)
        if locked:
            pages.cache.lock(pages.cache.match(locked).node)
        free = set(pages.kv.free_block_list)
        kept = set(range(8)) - free
        held = "; ".join(f"{tokens} in the pages {table}" for tokens, table in cached)
        lock = f"; {locked} locked" if locked else ""
        with given(f"make_room({num_pages}); pages of {size}, {len(free)} of 8 free; cached: {held}{lock}"):
            expect(pages.make_room(num_pages), evicted is not None, "whether there is room (the result)")
            gone = set(evicted or ())
            expect(pages.cache.total_size, (len(kept) - len(gone)) * size, "number of tokens in the cache afterwards")
            expect(sorted(pages.kv.free_block_list), sorted(free | gone), "free pages afterwards")
            expect(pages.num_evicted, len(gone), "pages.num_evicted")
            references = [int(page in kept - gone) for page in range(8)]
            expect(pages.kv.cache_refs, references, "references that the cache holds, page by page")
