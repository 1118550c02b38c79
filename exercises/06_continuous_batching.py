# Exercises of lesson 06: Continuous batching.
#
# Each function is the engine's, with its body taken out or a mistake put in. Write or fix it, save, check:
# `yaie.exercise("6.1").check()` in the notebook, or `yaie check 6.1` in a terminal.
# Functions that you have not written yet are filled in with the engine's own, so any order works.
# generated, text hash 8731c95ca7e425ed

from __future__ import annotations

from bisect import insort
from operator import attrgetter
from typing import Any

from yaie.engine import scheduler
from yaie.engine.request import Request


class Scheduler(scheduler.Scheduler):
    """The engine's `Scheduler`. The methods below replace its own; all others are inherited."""

    # ---------- Exercise 6.1: Cut a chunk of a prompt (about 10 minutes) ----------
    def chunk_size(self, request: Request, budget: int) -> int:
        """Say how many tokens of a request this step computes when `budget` tokens of the step are left.

        - `request`: `num_uncomputed_tokens` of it are still to be computed, 1 or more. They begin at
          position `num_computed_tokens`.
        - `budget`: 0 or more.
        - Returns a number from 0 to `budget`.

        What fits into the budget is computed as a whole. A longer rest is cut. The cut goes between two
        pages of `self.pages.block_size` tokens where that is possible, because only whole pages can be
        reused: it is the last position within the budget at which a page ends. If no page ends within the
        budget, the chunk fills it.

        With pages of 16 tokens:

        | computed | to go | budget | result | because |
        |---|---|---|---|---|
        | 40 | 1 | 30 | 1 | all of it fits: a decode |
        | 40 | 30 | 30 | 30 | all of it fits, although no page ends at 70 |
        | 40 | 100 | 30 | 24 | with 30 it would end at 70; a page ends at 64 |
        | 40 | 100 | 5 | 5 | no page ends from 41 to 45 |
        | 40 | 100 | 0 | 0 | nothing is left |

        The fourth row matters: if the result were 0, a small budget would stop this prompt for ever.
        """
        raise NotImplementedError("exercise 6.1: write this function")

    # ---------- Exercise 6.2: Admit under two budgets (about 20 minutes) ----------
    def admit(self, budget: int) -> list[Request]:
        """Start waiting requests, in the order of the policy, while two budgets allow it. Return those that
        you started, in order.

        Tokens: each request takes its chunk of what is left of `budget` (exercise 6.1). Once nothing is
        left, no other is started. Pages: it needs pages for all of its tokens, and beyond them a spare page
        for each request that runs already must remain. At most `self.max_num_seqs` requests run.

        Pages of 4 tokens, and requests that wait in this order:

        | prompts | pages | `admit` | result |
        |---|---|---|---|
        | 6, 6, 6 tokens | 16 | `admit(12)` | r0, r1: the budget is used up |
        | 6, 6, 6 tokens | 16 | `admit(16)` | r0, r1, r2: the last computes a chunk of 4 |
        | 8, 8 tokens | 4 | `admit(64)` | r0: for r1 no spare page would remain |
        | 8, 36, 4 tokens | 10 | `admit(64)` | r0: nothing overtakes r1, which has no pages |

        A request whose beginning is just being computed for another one is passed over, and those behind it
        are looked at: in a step or two it can reuse that beginning.

        You may use `self.admission_order()`, the candidates in that order; `self.running`;
        `self.is_being_computed(request)`; `self.pages.admit(request, num_spare)`, which takes the pages of
        a request and returns True, or returns False and has changed nothing; `self.start(request)`, which
        moves an admitted request from `self.waiting` to `self.running`; and
        `self.chunk_size(request, budget)`.
        """
        raise NotImplementedError("exercise 6.2: write this function")

    # ---------- Exercise 6.3: Preempt the youngest (about 15 minutes) ----------
    def preempt(self) -> Request:
        """Make the youngest running request wait again, so that its pages can serve the others. Return it.

        The youngest is the one with the largest `arrival`, the number in the order in which requests came.
        It goes back to its place among those who wait: `self.waiting` is a deque in the order of `arrival`.
        It keeps all its tokens, those that it has generated as well, and what it has computed stays in the
        prefix cache.

        r0, r3 and r2 run (r3 overtook r2), r1 and r5 wait:

        | | before | after `preempt()` |
        |---|---|---|
        | result | | r3 |
        | `self.running` | r0, r3, r2 | r0, r2 |
        | `self.waiting` | r1, r5 | r1, r3, r5 |
        | `self.preempted` | | r3 |
        | pages of r3 | 3 | 0 |
        | `num_preemptions` of r3 | 0 | 1 |

        `self.preempted` lists all who were preempted in this step, in order.

        You may use `self.pages.give_back(request)`: it publishes the whole pages that the request has
        computed and takes all of its pages back. With `keep=False` it publishes nothing.
        """
        raise NotImplementedError("exercise 6.3: write this function")


# ---------- Exercise 6.4: Who goes first (about 15 minutes) ----------
def longest_prefix(scheduler: Scheduler, request: Request) -> Any:
    """Return the key of a waiting request: in each step requests are admitted in the order of their keys,
    the smallest first. Any values that can be compared with those of other requests will do.

    Who finds most tokens in the prefix cache goes first. The last token of a request does not count:
    it is always computed. Among those that find equally much, the one that came first goes first, the
    one with the smallest `arrival`.

    If that were all, a request that finds nothing could wait for ever. So whoever was overtaken
    `scheduler.max_overtaken` times or more goes before all others. Among several of these only
    `arrival` decides.

    The cache holds the tokens 1 to 8, in pages of 4, and `max_overtaken` is 3:

    | request | tokens | found | `num_overtaken` | place |
    |---|---|---|---|---|
    | r0 | `[9, 9, 9]` | 0 | 2 | 4 |
    | r1 | `[1, 2, 3, 4, 9]` | 4 | 0 | 3 |
    | r2 | `[1, 2, 3, 4, 5, 6, 7, 8, 9]` | 8 | 0 | 2 |
    | r3 | `[9, 9]` | 0 | 3 | 1 |

    This only looks: nothing in the cache is split, or counted as used.

    You may use `scheduler.pages.cache.find(tokens).length`, the number of tokens that a match would
    find, and `request.token_ids`, an array.
    """
    raise NotImplementedError("exercise 6.4: write this function")
