# Exercises of lesson 07: The engine with a prefix cache: your engine talks.
#
# Each function is the engine's, with its body taken out or a mistake put in. Write or fix it, save, check:
# `yaie.exercise("7.1").check()` in the notebook, or `yaie check 7.1` in a terminal.
# Functions that you have not written yet are filled in with the engine's own, so any order works.
# generated, text hash a00a12e2ef16ce2a

from __future__ import annotations

from yaie.engine import pages
from yaie.engine.request import Request


class Pages(pages.Pages):
    """The engine's `Pages`. The methods below replace its own; all others are inherited."""

    # ---------- Exercise 7.1: Reuse a cached prefix (about 15 minutes) ----------
    def reuse(self, request: Request) -> list[int]:
        """Find the longest cached prefix of a request, lock it, and return the pages that hold it as a list,
        in order: they become the beginning of its block table.

        The last token of a request is never taken from the cache. It must be computed, because its logits
        give the next token; a prompt that is cached to its end would leave nothing to compute.

        The request notes the node that it has locked, and how many tokens it has found. These count as
        published and as computed. Where nothing is found, the list is empty and the node is the root.

        Pages of 2 tokens; `[5, 6, 7, 8]` is cached in the pages 3 and 1:

        | tokens of the request | result | tokens found | because |
        |---|---|---|---|
        | `[5, 6, 7, 8, 9]` | `[3, 1]` | 4 | 9 is left to compute |
        | `[5, 6, 7, 8]` | `[3]` | 2 | 8 must be computed, and 7 alone is no page |
        | `[5, 6, 1, 2, 3]` | `[3]` | 2 | the prompts part there |
        | `[4, 4, 4]` | `[]` | 0 | |

        You may use `self.cache.match(tokens)`, which gives `(length, pages, node)`: tokens found, whole
        pages; an int64 array of pages; the node to lock. Then `self.cache.lock(node)`, and
        `request.hold(node, num_published, num_computed)`, which notes the node and the two numbers of
        tokens. `request.token_ids` is an int64 array.
        """
        raise NotImplementedError("exercise 7.1: write this function")

    # ---------- Exercise 7.2: Publish what is computed (about 20 minutes) ----------
    def publish(self, request: Request) -> None:
        """Hand the whole pages that a running request has computed to the prefix cache, for others to reuse.
        Only what is computed may be published: whoever finds a page reads it at once.

        - The cache gets one reference (`self.kv.retain`) on each page that it took, and on no other.
        - The request goes on reading its published pages, so it locks them, and gives back its old lock.
        - Where a twin published the same tokens first, the cache keeps the twin's pages. The request reads
          on from those. Its own are duplicates: they are freed, and counted in `self.num_duplicates`.

        Pages of 4 tokens. 12 tokens are computed; page 0 was found in the cache at the beginning, and a
        twin has published page 4 for the same tokens as page 7:

        | | before | after |
        |---|---|---|
        | block table of the request | `[0, 7, 9]` | `[0, 4, 9]` |
        | pages of the cache | 0, 4 | 0, 4, 9 |
        | page 7 | in use | free, one duplicate more |
        | `request.num_published_tokens` | 4 | 12 |

        A block table never names a page that is free. `request.locked_node` is the node now locked.

        You may use `self.cache.insert(tokens, pages)`, which gives `(present, length, node)` (exercise
        1.3; a cache that keeps nothing answers `(0, 0, root)`); `self.cache.pages_to(node)`, an array;
        `self.kv.block_tables`; `self.kv.replace_prefix(request_id, pages)`, which makes a table begin with
        these pages and returns those that became free; and `request.hold(node, num_published,
        num_computed)`, which notes the node and both lengths in tokens.
        """
        raise NotImplementedError("exercise 7.2: write this function")

    # ---------- Exercise 7.3: Make room by eviction (about 15 minutes) ----------
    def make_room(self, num_pages: int) -> bool:
        """See that at least `num_pages` pages are free. If there are fewer, let the cache evict what is
        missing. Return whether so many are free now.

        If eviction would not be enough, nothing is evicted: the request must wait in any case, and pages
        worth keeping would be lost for nothing. Evicted pages lose the reference of the cache, which frees
        them, and count in `self.num_evicted`.

        A pool of 8 pages. The cache holds A in the pages 0 and 1 and B in page 2, A was used before B; the
        other 5 are free:

        | `make_room` | result | evicted | free afterwards |
        |---|---|---|---|
        | 5 | True | none | 5 |
        | 6 | True | 0 and 1: whole leaves go | 7 |
        | 8 | True | 0, 1 and 2 | 8 |
        | 6, with A and B locked | False | none | 5 |
        | 9 | False | none | 5 |

        You may use `self.kv.num_free_blocks`; `self.cache.evictable_size`, how many pages could be evicted;
        `self.cache.evict(num_pages)`, which evicts at least so many and returns them as an array (exercise
        1.4); and `self.kv.release(pages)`, which takes the cache's reference off each page of a list.
        """
        raise NotImplementedError("exercise 7.3: write this function")

    # ---------- Exercise 7.4: Publish a prompt chunk by chunk (about 10 minutes) ----------
    def advance(self, request: Request, num_tokens: int) -> None:
        """A step has computed the next `num_tokens` tokens of a running request. Note it, so that
        `request.num_computed_tokens` is true again, and publish what should be found from now on.

        - **A prompt** is published after every step, chunk by chunk: others that begin alike are waiting for
          it. A chunk may be as short as one token, and it may end inside a page: only whole pages go to the
          cache (exercise 7.2).
        - **An answer** is not published while it grows. This is done when its request ends, elsewhere.
        - A request that was preempted computes its prompt and its generated tokens again, in chunks. These
          steps count as those of a prompt, all but the last if that computes the newest token alone.

        Whether only the newest generated token is left to compute, `request.is_decode` says.

        Pages of 4 tokens, and a prompt of 10 tokens; each row is a step:

        | step | `num_tokens` | computed afterwards | published afterwards |
        |---|---|---|---|
        | a chunk | 6 | 6 | 4 |
        | the rest of the prompt | 4 | 10 | 8 |
        | a decode | 1 | 11 | 8 |
        | a decode | 1 | 12 | 8 |

        You may use `self.publish(request)` of exercise 7.2, and `request.hold(node, num_published,
        num_computed)`; `request.locked_node` and `request.num_published_tokens` are what it holds now.
        """
        raise NotImplementedError("exercise 7.4: write this function")
