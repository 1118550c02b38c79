# Exercises of lesson 07: The engine with a prefix cache: your engine talks.
#
# Each function below belongs to the engine; its body has been taken out. Write it, save the file, check it:
# `yaie.exercise("7.1").check()` in the notebook, or `yaie check 7.1` in a terminal.
# Functions that you have not written yet are filled in with the engine's own, so any order works.
# generated, text hash 1624138ee23c8d8a

from __future__ import annotations

from yaie.engine import pages
from yaie.engine.request import Request


class Pages(pages.Pages):
    """The engine's `Pages`. The methods below replace its own; all others are inherited."""

    # ---------- Exercise 7.1: Reuse a cached prefix (about 15 minutes) ----------
    def reuse(self, request: Request) -> list[int]:
        """Find the longest cached prefix of a request, lock it, note on the request what need not be computed, and
        return the pages. With pages of 2 and [5, 6, 7, 8] cached in the pages 3 and 1, a request for [5, 6, 7, 8]
        gets [3] and computes 7 and 8.
        """
        raise NotImplementedError("exercise 7.1: write this function")

    # ---------- Exercise 7.2: Publish what is computed (about 20 minutes) ----------
    def publish(self, request: Request) -> None:
        """Hand the whole computed pages of a running request to the prefix cache. If a twin was first, read on from
        the twin's pages and free the duplicates. A request with the table [0, 7, 9] finds that the cache has page 4
        for the tokens of its page 7: afterwards its table is [0, 4, 9], the cache has 0, 4 and 9, and page 7 is
        free.
        """
        raise NotImplementedError("exercise 7.2: write this function")

    # ---------- Exercise 7.3: Make room by eviction (about 15 minutes) ----------
    def make_room(self, num_pages: int) -> bool:
        """See that `num_pages` pages are free. If 3 are free and 5 are wanted, evict 2 pages: with pages of 4 tokens,
        ask the cache for 8 tokens. If it cannot give up that many, evict nothing and return False.
        """
        raise NotImplementedError("exercise 7.3: write this function")
