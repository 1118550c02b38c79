"""Pages change hands: between the pool, the running requests and the prefix cache.

A page is a block of the pool: `block_size` tokens. At any time the pages of a running request are, in order:

    tokens        0 ........ num_published_tokens ........ num_computed_tokens ........ num_tokens
    block table   [ cached | cached | published | computed | computed | tail: partly | empty ]
                  '------------ shared ---------'-------------- private --------------------'
                   in the prefix cache, locked    this request's alone; go back to the pool
                   by this request                when it ends, or to the cache when published

Every page has a reference count in the pool: one for each block table that names it and one if the cache keeps it; at
zero it is free. A lock is another thing: it keeps the cache from evicting a page that a request reads.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np

from yaie.engine.prefix_cache import KeepsNothing, PrefixCache
from yaie.engine.request import Request, Status
from yaie.kernels import radix_tree
from yaie.kernels.kv_cache import KVCacheManager


class PageCounts(NamedTuple):
    """Where all pages of the pool are: `free + evictable + protected + private == pool` after every step."""

    free: int  # on the pool's free list
    evictable: int  # in the cache, not locked
    protected: int  # in the cache, on the path of a lock: some request is reading it
    private: int  # in one block table only
    pool: int


class Pages:
    """Gives pages to requests, and keeps those worth keeping in the prefix cache."""

    def __init__(self, kv: KVCacheManager, *, prefix_cache: bool = True, eviction: str = "lru") -> None:
        self.kv = kv
        self.block_size = kv.block_size
        self.cache = (PrefixCache if prefix_cache else KeepsNothing)(page_size=kv.block_size, policy=eviction)
        self.num_evicted = 0
        self.num_duplicates = 0

    @property
    def num_available(self) -> int:
        """Pages that a request could get now: free ones, and those that the cache would give up."""
        return self.kv.num_free_blocks + self.cache.evictable_size

    def admit(self, request: Request, num_spare: int = 0) -> bool:
        """Give a waiting request pages for all of its tokens: cached ones as far as they go, then free ones.

        False, and nothing has changed, unless `num_spare` more are available: room for those that run already to grow.
        """
        found = self.cache.find(request.token_ids[:-1])
        num_new = self.kv.blocks_needed(request.num_tokens) - found.length // self.block_size
        # Pages that are about to be reused can be evicted until they are locked.
        if self.num_available - self.cache.num_unlocked(found) < num_new + num_spare:
            return False
        cached = self.reuse(request)
        self.make_room(num_new)
        self.kv.allocate_blocks(request.request_id, request.num_tokens, cached)
        return True

    def reuse(self, request: Request) -> list[int]:
        """Find the longest cached prefix of a request, lock it, and return the pages that hold it, in order.

        The last token of a request is never taken from the cache: it must be computed, because its logits give the next
        token. A prompt that is cached to its end would leave nothing to compute.

        From now on the request holds the node that it locked; the tokens of the match count as published and computed.
        """
        hit = self.cache.match(request.token_ids[:-1])
        self.cache.lock(hit.node)
        request.hold(hit.node, hit.length, hit.length)
        return hit.pages.tolist()

    def grow(self, request: Request) -> bool:
        """Make sure that a running request has a page for each of its tokens. False if none is left.

        The pool counts whole pages for it, so this has work once a page, not once a token.
        """
        room = self.kv.context_lens[request.request_id]
        if request.num_tokens <= room:
            return True
        num_pages = self.kv.blocks_needed(request.num_tokens)
        if not self.make_room(num_pages - len(self.kv.block_tables[request.request_id])):
            return False
        self.kv.append_tokens(request.request_id, num_pages * self.block_size - room)
        return True

    def can_grow(self, running: list[Request]) -> bool:
        """Whether there are pages for the next token of every running request, so that none must be preempted."""
        room = self.kv.context_lens
        return sum(request.num_tokens > room[request.request_id] for request in running) <= self.num_available

    def make_room(self, num_pages: int) -> bool:
        """See that at least `num_pages` pages are free; if there are fewer, let the cache evict what is missing.

        Returns whether so many are free now. If eviction would not be enough, nothing is evicted: pages worth keeping
        would be lost for nothing. Evicted pages lose the cache's reference and count in `num_evicted`.
        """
        missing = num_pages - self.kv.num_free_blocks
        if missing <= 0:
            return True
        if missing > self.cache.evictable_size:
            return False
        pages = self.cache.evict(missing).tolist()
        self.kv.release(pages)
        self.num_evicted += len(pages)
        return True

    def advance(self, request: Request, num_tokens: int) -> None:
        """A step has computed `num_tokens` more tokens. A prompt is published at once, an answer when it ends."""
        was_decode = request.is_decode
        request.hold(request.locked_node, request.num_published_tokens, request.num_computed_tokens + num_tokens)
        if not was_decode:
            self.publish(request)

    def publish(self, request: Request) -> None:
        """Hand the whole pages that a running request has computed to the prefix cache, for others to reuse.

        Only what has been computed may be published: whoever finds a page reads it at once. The cache holds a reference
        to each page that it took (`kv.retain`). The request goes on reading its published pages, so it locks them, and
        gives back the lock that it had.

        If more was present than this request had published or found itself, a twin was first. The cache keeps the
        twin's pages, and those of this request are duplicates, counted in `num_duplicates`. Its block table is made to
        name the twin's pages, and only then are the duplicates freed (`kv.replace_prefix`): a table that goes on naming
        a freed page soon reads the keys and values of another request.
        """
        size, table = self.block_size, self.kv.block_tables[request.request_id]
        num_pages = request.num_computed_tokens // size
        present, length, node = self.cache.insert(request.token_ids[: num_pages * size], table[:num_pages])
        self.kv.retain(table[present // size : length // size])
        self.cache.lock(node)
        self.cache.unlock(request.locked_node)
        if present > request.num_published_tokens:
            pages = self.cache.pages_to(node).tolist()
            self.num_duplicates += len(self.kv.replace_prefix(request.request_id, pages))
        request.hold(node, length, request.num_computed_tokens)

    def give_back(self, request: Request, *, keep: bool = True) -> None:
        """Take all pages from a running request. With `keep`, what it computed stays in the cache until evicted.

        Without `keep` nothing is published that has not been: what a failed step left in the pages is not known.
        """
        request.expect_nothing()
        if keep:
            self.publish(request)
        self.kv.free_blocks(request.request_id)
        self.cache.unlock(request.locked_node)
        request.hold(None, 0, 0)

    # --- accounts -------------------------------------------------------------------------------------------

    def counts(self, running: list[Request]) -> PageCounts:
        """Where the pages are, each kind counted by its owner: the sum is a check and not a definition."""
        return PageCounts(
            free=self.kv.num_free_blocks,
            evictable=self.cache.evictable_size,
            protected=self.cache.protected_size,
            private=sum(len(self.kv.block_tables[r.request_id]) - self._num_shared(r) for r in running),
            pool=self.kv.num_blocks,
        )

    def check_integrity(self, running: list[Request]) -> None:
        """Raise AssertionError naming the first page that is not where it should be."""
        self.kv.check_integrity()
        self.cache.check_integrity()
        counts = self.counts(running)
        assert sum(counts[:4]) == counts.pool, f"pages were lost or are counted twice: {counts}"
        tables, names = self.kv.block_tables, {request.request_id for request in running}
        assert tables.keys() == names, f"block tables of {sorted(tables)}, running are {sorted(names)}"
        nodes = radix_tree.iter_nodes(self.cache.root)
        in_cache = Counter(page for node in nodes for page in node.payload.pages.tolist())
        kept = +Counter(dict(enumerate(self.kv.cache_refs)))
        assert in_cache == kept, "the pages in the prefix cache are not those that the pool keeps for it"
        all_shared = set()
        for request in running:
            request.check()
            who, node, table = f"request {request.request_id!r}", request.locked_node, tables[request.request_id]
            assert request.status is Status.RUNNING, f"{who} is {request.status.value} and has pages"
            shared, private = table[: self._num_shared(request)], table[self._num_shared(request) :]
            tokens = request.token_ids[: request.num_published_tokens]
            assert np.array_equal(tokens, radix_tree.tokens_to(node)), f"{who} locks a path of other tokens"
            assert shared == self.cache.pages_to(node).tolist(), f"{who} locks other pages than its table begins with"
            assert not in_cache.keys() & private, f"{who} has private pages that are in the cache: {private}"
            all_shared.update(shared)
        assert len(all_shared) == counts.protected, f"{counts.protected} pages are locked, {len(all_shared)} are read"

    def _num_shared(self, request: Request) -> int:
        return request.num_published_tokens // self.block_size
