"""Exercises of lesson 07: The engine with a prefix cache: your engine talks.

Each function below belongs to the engine; its body has been taken out. Write it, save the file, check it:
`yaie.exercise("7.1").check()` in the notebook, or `yaie check 7.1` in a terminal.
Functions that you have not written yet are filled in with the engine's own, so any order works.
"""
# generated, text hash b952c9bdebe3d3bd

from __future__ import annotations

from yaie.engine import pages
from yaie.engine.request import Request


class Pages(pages.Pages):
    """The engine's `Pages`. The methods below replace its own; everything else is inherited."""

    # ---------- Exercise 7.1: Reuse a cached prefix (about 15 minutes) ----------
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
        raise NotImplementedError("exercise 7.1: write this function")

    # ---------- Exercise 7.2: Publish what is computed (about 20 minutes) ----------
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
        raise NotImplementedError("exercise 7.2: write this function")

    # ---------- Exercise 7.3: Make room by eviction (about 15 minutes) ----------
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
        raise NotImplementedError("exercise 7.3: write this function")
