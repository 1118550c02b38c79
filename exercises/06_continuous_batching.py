"""Exercises of lesson 06: Continuous batching.

Each function below belongs to the engine; its body has been taken out. Write it, save the file, check it:
`yaie.exercise("6.1").check()` in the notebook, or `yaie check 6.1` in a terminal.
Functions that you have not written yet are filled in with the engine's own, so any order works.
"""
# generated, text hash 14ecb735e2ef1705

from __future__ import annotations

from bisect import insort
from operator import attrgetter

from yaie.engine import scheduler
from yaie.engine.request import Request, Status


class Scheduler(scheduler.Scheduler):
    """The engine's `Scheduler`. The methods below replace its own; everything else is inherited."""

    # ---------- Exercise 6.1: Cut a chunk of a prompt (about 10 minutes) ----------
    def chunk_size(self, request: Request, budget: int) -> int:
        """How many tokens of a running request go into this step, when `budget` tokens are left of the step's budget.

        As many as there are (`request.num_uncomputed_tokens`: 1 for a decode, the rest of the prompt for a prefill), if
        the budget allows that. A prompt that is longer is cut: this step computes a chunk of it, and the next goes on
        after `request.num_computed_tokens`. Such a cut is made between two pages (`self.pages.block_size` tokens each)
        where that is possible, because only whole pages can be published and reused: the chunk is shortened until
        `num_computed_tokens` plus the chunk is a multiple of the page. If nothing would be left of it, the chunk fills
        the budget instead: a small budget must not stop a prompt for ever.

        Returns:
            0 <= number of tokens <= budget

        Example: pages of 16, 40 tokens computed, 100 to go, a budget of 30: the chunk would end at 70, inside a page,
        so 24 tokens are computed, up to 64. With a budget of 5 it would be 5.
        """
        raise NotImplementedError("exercise 6.1: write this function")

    # ---------- Exercise 6.2: Admit under two budgets (about 20 minutes) ----------
    def admit(self, budget: int) -> list[Request]:
        """Start waiting requests, in the order of the policy, while the budgets of tokens and pages allow it.

        Two budgets. Tokens: each admitted request takes `self.chunk_size(request, budget)` of what is left of `budget`;
        nobody is admitted when it is used up. Pages: `self.pages.admit(request, num_spare)` gives a request pages for
        all of its tokens and returns True, or returns False and changes nothing. Ask for one spare page per running
        request, so that those who decode do not run out of pages at once, and somebody would have to be preempted.

        - `self.admission_order()` gives the candidates, the first to be admitted first.
        - At most `self.max_num_seqs` requests run at a time.
        - Pass over a candidate if `self.is_being_computed(request)`: another request is computing the beginning of its
          prompt just now, and in a step or two that can be reused.
        - Stop at the first candidate for which there are no pages. To go on with smaller ones behind it would let small
          requests overtake a large one for ever.
        - `self.start(request)` moves an admitted request from `self.waiting` to `self.running`.

        Returns:
            the admitted requests, in order
        """
        raise NotImplementedError("exercise 6.2: write this function")

    # ---------- Exercise 6.3: Preempt the youngest (about 15 minutes) ----------
    def preempt(self) -> Request:
        """Make the youngest running request wait again, so that its pages can serve the others; return it.

        The youngest is the one with the largest `arrival`. It has lost the least, and if the oldest always stays,
        somebody always gets on.

        Take it out of `self.running`; take back its pages with `self.pages.give_back(request)`, which publishes what it
        has computed (so it may find that again) and sets its `num_computed_tokens` to 0; set its `status` to
        `Status.WAITING`; put it back into `self.waiting`, which is in the order of arrival (`bisect.insort` takes a
        `key`). What it has generated stays in its `token_ids` and is computed again, with the prompt, as a prompt.
        Count it in `request.num_preemptions` and note it in `self.preempted`.
        """
        raise NotImplementedError("exercise 6.3: write this function")
