# Exercises of lesson 06: Continuous batching.
#
# Each function below belongs to the engine; its body has been taken out. Write it, save the file, check it:
# `yaie.exercise("6.1").check()` in the notebook, or `yaie check 6.1` in a terminal.
# Functions that you have not written yet are filled in with the engine's own, so any order works.
# generated, text hash 4422f52557428e3a

from __future__ import annotations

from bisect import insort
from operator import attrgetter

from yaie.engine import scheduler
from yaie.engine.request import Request, Status


class Scheduler(scheduler.Scheduler):
    """The engine's `Scheduler`. The methods below replace its own; all others are inherited."""

    # ---------- Exercise 6.1: Cut a chunk of a prompt (about 10 minutes) ----------
    def chunk_size(self, request: Request, budget: int) -> int:
        """Say how many tokens of a request this step computes, with `budget` tokens left. All that are missing, if
        they fit. Else cut, so that computed tokens and chunk together end at a page: with pages of 16, 40 tokens
        done, 100 to go and a budget of 30, that is 24 (40 + 24 = 64). If no page ends within the budget, use all of
        it.
        """
        raise NotImplementedError("exercise 6.1: write this function")

    # ---------- Exercise 6.2: Admit under two budgets (about 20 minutes) ----------
    def admit(self, budget: int) -> list[Request]:
        """Go through the waiting requests in the order of the policy and start as many as the budgets of tokens and
        pages allow. With prompts of 6, 6 and 6 tokens, pages enough and a budget of 12, the first two start and the
        budget is used up. Stop at the first for which there are no pages.
        """
        raise NotImplementedError("exercise 6.2: write this function")

    # ---------- Exercise 6.3: Preempt the youngest (about 15 minutes) ----------
    def preempt(self) -> Request:
        """Take the running request with the largest `arrival`, give its pages back, and put it where it belongs in the
        line of those who wait. If r0, r3 and r2 run, and r1 and r5 wait, r3 is preempted, and r1, r3 and r5 wait.
        It keeps the tokens that it has generated.
        """
        raise NotImplementedError("exercise 6.3: write this function")
