"""Pages change hands: between the pool, the running requests and the prefix cache.

A page is a block of the pool: `block_size` tokens. At any time the pages of a running request are, in order:

    tokens        0 ........ num_published_tokens ........ num_computed_tokens ........ num_tokens
    block table   [ cached | cached | published | computed | computed | tail: partly | empty ]
                  '------------ shared ---------'-------------- private --------------------'
                   in the prefix cache, locked    this request's alone; go back to the pool
                   by this request                when it ends, or to the cache when published

    who        takes pages                                gives them back
    request    admit: cached pages by reuse, the others   give_back: its references; private pages become free
               off the free list; grow: one for a token
    cache      publish: whole computed pages that it      make_room: evicted pages become free
               does not have yet

Every page has a reference count in the pool: one for each block table that names it and one if the cache keeps it; at
zero it is free. A lock is another thing: it keeps the cache from evicting a page that a request reads.
So after every step

    free + evictable + protected + private == pool

    free        on the pool's free list
    evictable   in the cache, locked by nobody
    protected   in the cache, on the path of a lock
    private     in one block table only
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np

from yaie.engine.prefix_cache import PrefixCache
from yaie.engine.request import Request, Status
from yaie.kernels import radix_tree
from yaie.kernels.kv_cache import KVCacheManager


class PageCounts(NamedTuple):
    """Where all pages of the pool are: `free + evictable + protected + private == pool`."""

    free: int
    evictable: int
    protected: int
    private: int
    pool: int


class Pages:
    """Gives pages to requests, and keeps those worth keeping in the prefix cache.

    kv: owns the pool, the free list and the block tables
    cache: owns what may be reused or evicted; it stays empty with `prefix_cache=False`
    """

    def __init__(self, kv: KVCacheManager, *, prefix_cache: bool = True, eviction: str = "lru") -> None:
        self.kv = kv
        self.cache = PrefixCache(page_size=kv.block_size, policy=eviction)
        self.keeps_prefixes = prefix_cache
        self.num_evicted = 0
        self.num_duplicates = 0

    @property
    def block_size(self) -> int:
        return self.kv.block_size

    @property
    def num_available(self) -> int:
        """Pages that a request could get now: free ones, and those that the cache would give up."""
        return self.kv.num_free_blocks + self.cache.evictable_size // self.block_size

    # --- from the pool and the cache to a request -----------------------------------------------------------

    def admit(self, request: Request, num_spare: int = 0) -> bool:
        """Give a waiting request pages for all of its tokens: cached ones as far as they go, then free ones.

        Succeeds only if `num_spare` pages more would be available: room for those that run already to grow. Returns
        whether it succeeded; if not, nothing has changed.
        """
        cached = self.reuse(request)
        num_new = self.kv.blocks_needed(request.num_tokens) - len(cached)
        # Asked after the lock: the pages just matched are not available to be evicted any more.
        if self.num_available < num_new + num_spare or not self.make_room(num_new):
            self._unlock(request)
            return False
        self.kv.allocate_blocks(request.request_id, request.num_tokens, cached)
        return True

    def reuse(self, request: Request) -> list[int]:
        """Find the longest cached prefix of a request, lock it, and return the pages that hold it.

        The last token of a request is never taken from the cache: it must be computed, because its logits give the next
        token. A prompt that is cached to its end would leave nothing to compute.

        Given: `self.cache.match(tokens)` returns `(length, slots, node)`, `length` in whole pages;
        `self.cache.lock(node)` protects the match from eviction. The slots are one per token, those of a page follow
        each other, and page `p` holds the slots from `p * self.block_size` on.

        Sets on the request: `locked_node`, and `num_published_tokens` and `num_computed_tokens`, both to the length of
        the match: these tokens need not be computed.

        Returns:
            the pages in order: the beginning of the request's block table; empty if nothing was found

        Example: with pages of 2 and [5, 6, 7, 8] cached in the slots [6, 7, 2, 3], a request for [5, 6, 7, 8] finds
        [5, 6] only (8 must be computed, and 7 would be half a page), and the pages are [3].
        """
        hit = self.cache.match(request.token_ids[:-1])
        self.cache.lock(hit.node)
        request.locked_node = hit.node
        request.num_published_tokens = request.num_computed_tokens = hit.length
        return (hit.slots[:: self.block_size] // self.block_size).tolist()

    def grow(self, request: Request) -> bool:
        """Make sure that a running request has a page for each of its tokens. False if no page can be had."""
        missing = request.num_tokens - self.kv.context_lens[request.request_id]
        if missing <= 0:
            return True
        num_held = len(self.kv.block_tables[request.request_id])
        if not self.make_room(self.kv.blocks_needed(request.num_tokens) - num_held):
            return False
        self.kv.append_tokens(request.request_id, missing)
        return True

    def make_room(self, num_pages: int) -> bool:
        """See that at least `num_pages` pages are free; if there are fewer, let the cache evict what is missing.

        Given: `self.kv.num_free_blocks`; `self.cache.evictable_size` and `self.cache.evict(num_tokens)`, which count
        tokens and not pages, `evict` returning one slot per freed token (page `p` holds the slots from
        `p * self.block_size` on); `self.kv.release(pages)`, which takes the cache's reference off each page, so that
        those which nobody reads go back to the free list.

        Evict nothing if that would not be enough: pages that are worth keeping would be lost for nothing. Count the
        evicted pages in `self.num_evicted`.

        Returns:
            whether `num_pages` pages are free now
        """
        missing = num_pages - self.kv.num_free_blocks
        if missing <= 0:
            return True
        if missing > self.cache.evictable_size // self.block_size:
            return False
        slots = self.cache.evict(missing * self.block_size)
        pages = (slots[:: self.block_size] // self.block_size).tolist()
        self.kv.release(pages)
        self.num_evicted += len(pages)
        return True

    # --- from a request to the cache and the pool -----------------------------------------------------------

    def publish(self, request: Request) -> None:
        """Hand the whole pages that a running request has computed to the prefix cache, for others to reuse.

        Only what has been computed may be published: whoever finds a page reads it at once. The request goes on reading
        its published pages, so they are locked, and the lock that it had (`request.locked_node`) is given back.

        If a twin published the same tokens first, the cache keeps the twin's pages, and those of this request are
        duplicates. Its block table is made to name the twin's pages, and only then are the duplicates freed: a table
        that goes on naming a freed page soon reads the keys and values of another request.

            before   table [ 0 | 7 | 9 ]     cache: page 0, then the twin's page 4
            after    table [ 0 | 4 | 9 ]     cache: pages 0, 4, 9; page 7 is free

        In order:
        1. `self.cache.insert(tokens, slots)` for the computed tokens of all whole pages (`self.computed_pages(request)`
           gives both). It returns how many of these tokens were present already.
        2. The cache holds the pages after those: `self.kv.retain(pages)`, with pages from the block table
           `self.kv.block_tables[request.request_id]`.
        3. `self.cache.match(tokens)` says where all of it lies now. Lock that node, then unlock the old one.
        4. `self.kv.replace_prefix(request.request_id, pages)` makes the table begin with the matched pages and returns
           the pages that became free: the duplicates. Add their number to `self.num_duplicates`.
        5. Set `request.locked_node` and `request.num_published_tokens`.
        """
        tokens, slots = self.computed_pages(request)
        num_present = self.cache.insert(tokens, slots)
        self.kv.retain((slots[num_present :: self.block_size] // self.block_size).tolist())
        whole = self.cache.match(tokens)
        self.cache.lock(whole.node)
        self.cache.unlock(request.locked_node)
        pages = (whole.slots[:: self.block_size] // self.block_size).tolist()
        self.num_duplicates += len(self.kv.replace_prefix(request.request_id, pages))
        request.locked_node = whole.node
        request.num_published_tokens = whole.length

    def computed_pages(self, request: Request) -> tuple[np.ndarray, np.ndarray]:
        """The tokens of the whole pages that a running request has computed, and the slot of each."""
        num_pages = request.num_computed_tokens // self.block_size
        tokens = np.array(request.token_ids[: num_pages * self.block_size], dtype=np.int64)
        pages = np.array(self.kv.block_tables[request.request_id][:num_pages], dtype=np.int64)
        return tokens, (pages[:, None] * self.block_size + np.arange(self.block_size)).ravel()

    def give_back(self, request: Request, *, keep: bool = True) -> None:
        """Take all pages from a running request. With `keep`, what it computed stays in the cache until evicted.

        Without `keep` nothing is published that has not been: what a failed step left in the pages is not known.
        """
        if keep and self.keeps_prefixes:
            self.publish(request)
        self.kv.free_blocks(request.request_id)
        self._unlock(request)

    def _unlock(self, request: Request) -> None:
        self.cache.unlock(request.locked_node)
        request.locked_node = None
        request.num_published_tokens = request.num_computed_tokens = 0

    # --- accounts -------------------------------------------------------------------------------------------

    def counts(self, running: list[Request]) -> PageCounts:
        """Where the pages are, each kind counted by its owner: the sum is a check and not a definition."""
        size = self.block_size
        private = sum(len(self.kv.block_tables[r.request_id]) - r.num_published_tokens // size for r in running)
        return PageCounts(
            self.kv.num_free_blocks,
            self.cache.evictable_size // size,
            self.cache.protected_size // size,
            private,
            self.kv.num_blocks,
        )

    def check_integrity(self, running: list[Request]) -> None:
        """Raise AssertionError or RuntimeError naming the first page that is not where it should be."""
        self.kv.check_integrity()
        self.cache.check_integrity()
        counts = self.counts(running)
        if sum(counts[:4]) != counts.pool:
            raise AssertionError(f"pages were lost or are counted twice: {counts}")
        if self.kv.block_tables.keys() != {r.request_id for r in running}:
            raise AssertionError(
                f"block tables of {sorted(self.kv.block_tables)}, running are {[r.request_id for r in running]}"
            )
        in_cache = Counter()
        for node in radix_tree.iter_nodes(self.cache.root):
            in_cache.update((node.payload.slots[:: self.block_size] // self.block_size).tolist())
        if in_cache != +Counter(dict(enumerate(self.kv.cache_refs))):
            raise AssertionError("the pages in the prefix cache are not those that the pool keeps for it")
        shared = set()
        for request in running:
            self._check_table(request, in_cache)
            num_shared = request.num_published_tokens // self.block_size
            shared.update(self.kv.block_tables[request.request_id][:num_shared])
        if len(shared) != counts.protected:
            raise AssertionError(f"{counts.protected} pages are locked, {len(shared)} are read by requests")

    def _check_table(self, request: Request, in_cache: Counter[int]) -> None:
        request.check()
        if request.status is not Status.RUNNING:
            raise AssertionError(f"request {request.request_id!r} is {request.status.value} and has pages")
        path = radix_tree.path_to(request.locked_node)
        slots = np.concatenate([node.payload.slots for node in path])
        tokens = radix_tree.tokens_to(request.locked_node).tolist()
        table = self.kv.block_tables[request.request_id]
        num_shared = request.num_published_tokens // self.block_size
        if tokens != request.token_ids[: request.num_published_tokens]:
            raise AssertionError(f"request {request.request_id!r} locks a path of other tokens than its own")
        if table[:num_shared] != (slots[:: self.block_size] // self.block_size).tolist():
            raise AssertionError(f"the table of request {request.request_id!r} does not begin with what it locks")
        if private_in_cache := [page for page in table[num_shared:] if page in in_cache]:
            raise AssertionError(f"pages {private_in_cache} of {request.request_id!r} are private and in the cache")
