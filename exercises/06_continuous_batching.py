# Exercises of lesson 06: Continuous batching.
#
# Each function is the engine's, with its body taken out or a mistake put in. Write or fix it, save, check:
# `yaie.exercise("6.1").check()` in the notebook, or `yaie check 6.1` in a terminal.
# Functions that you have not written yet are filled in with the engine's own, so any order works.
# generated, text hash 6e7bf6c79894fc9f

from __future__ import annotations

from bisect import insort
from operator import attrgetter

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
