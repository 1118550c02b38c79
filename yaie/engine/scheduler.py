"""Continuous batching: which requests take part in the next step, and with how many tokens.

Every step has a budget of tokens. Requests that decode take one each, first: no answer stops because a long prompt came
in. What is left of the budget goes to prompts, in chunks, in the order in which they were admitted; what is left then
admits waiting requests. When there are no pages for a token that must be decoded, the youngest request is preempted: it
gives its pages back, waits, and is computed again later (or found again in the prefix cache). The oldest running
request is never preempted for another, so one always makes progress, and all finish in the end.

Sources: iteration-level scheduling from Orca (Yu et al., OSDI 2022); chunked prefill beside decodes from Sarathi-Serve
(Agrawal et al., OSDI 2024); longest prefix first from SGLang (arXiv 2312.07104).
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from typing import Any

import numpy as np

from yaie.engine.pages import Pages
from yaie.engine.request import Request, Status
from yaie.kernels.checks import integer, one_of, require

# How many waiting requests, from the oldest on, are looked at in one step. It bounds the cost of a step; a choice.
MAX_CONSIDERED = 128
# Then that many later requests may be admitted before a waiting one; a choice.
MAX_OVERTAKEN = 64


def longest_prefix(scheduler: Scheduler, request: Request) -> Any:
    """Who finds most of its tokens in the cache goes first; who was overtaken often enough goes before all others."""
    if request.num_overtaken >= scheduler.max_overtaken:
        return 0, 0, request.arrival
    return 1, -scheduler.pages.cache.find(request.token_ids[:-1]).length, request.arrival


# The waiting request with the smallest key is admitted first.
POLICIES: dict[str, Callable[[Scheduler, Request], Any]] = {
    "fcfs": lambda scheduler, request: request.arrival,
    "longest_prefix": longest_prefix,
}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What bounds a step, and who is admitted first. ValueError naming what could never work."""

    max_num_batched_tokens: int = 2048  # how many a step computes at most; a longer prompt is computed in chunks
    max_num_seqs: int = 64  # how many requests run at once; at most the budget, so that all of them can decode
    policy: str = "fcfs"  # who is admitted first: "fcfs" (first come, first served) or "longest_prefix"

    def __post_init__(self) -> None:
        budget = integer("max_num_batched_tokens", self.max_num_batched_tokens, 1)
        num_seqs = integer("max_num_seqs", self.max_num_seqs, 1)
        least = f"at least max_num_seqs={num_seqs}, so that all of them can decode"
        require(budget >= num_seqs, f"max_num_batched_tokens must be {least}", budget)
        one_of("policy", self.policy, POLICIES)


class Scheduler:
    """Chooses the requests of each step and gives them pages. Its limits come as `Limits`, or by their names."""

    def __init__(self, pages: Pages, limits: Limits | None = None, **by_name: Any) -> None:
        limits = limits or Limits(**by_name)
        self.pages = pages
        self.max_num_batched_tokens = limits.max_num_batched_tokens
        self.max_num_seqs = limits.max_num_seqs
        self.policy = limits.policy
        self.max_overtaken = MAX_OVERTAKEN
        self.waiting: deque[Request] = deque()  # in the order of arrival
        self.running: list[Request] = []  # in the order of admission
        self.preempted: list[Request] = []  # in the last call of `schedule`

    def add(self, request: Request) -> None:
        """Put a new request at the end of the queue."""
        self.waiting.append(request)

    def schedule(self) -> dict[Request, int]:
        """The requests of the next step, and how many of its tokens each computes in it: together at most the budget.

        All of them are running and have pages for these tokens.
        """
        batch: dict[Request, int] = {}
        budget = self.max_num_batched_tokens
        self.preempted = []
        for request in sorted(self.running, key=lambda request: not request.is_decode):  # decodes first
            if request.status is not Status.RUNNING:
                continue  # preempted for one before it
            while not self.pages.grow(request):
                victim = self.preempt()
                budget += batch.pop(victim, 0)
                if victim is request:
                    break
            else:
                if num_tokens := self.chunk_size(request, budget):
                    batch[request] = num_tokens
                    budget -= num_tokens
        if budget and not self.preempted:  # else the pages are needed by those who run
            for request in self.admit(budget):
                batch[request] = self.chunk_size(request, budget)
                budget -= batch[request]
        return batch

    def chunk_size(self, request: Request, budget: int) -> int:
        """How many tokens of a running request go into this step, when `budget` tokens are left: 0 to `budget`.

        A prompt that is longer is cut between two pages where that is possible, because only whole pages can be
        published and reused. Where no page ends within the budget, the chunk fills it, or the prompt would never go on.
        """
        if request.num_uncomputed_tokens <= budget:
            return request.num_uncomputed_tokens
        end = request.num_computed_tokens + budget
        aligned_end = end - end % self.pages.block_size
        if aligned_end <= request.num_computed_tokens:
            return budget
        return aligned_end - request.num_computed_tokens

    def admit(self, budget: int) -> list[Request]:
        """Start waiting requests, in the order of the policy, while budgets of tokens and pages allow it; return them.

        An admitted request takes its chunk of `budget`, and pages for all of its tokens. A spare page for each that
        runs already must remain, else one of those would be preempted in the next step for want of it. A candidate
        whose beginning another computes just now is passed over: in a step or two it can be reused. The first without
        pages ends the admissions: if smaller ones behind it were tried, they could overtake a large one for ever.
        """
        admitted = []
        for request in self.admission_order():
            if budget == 0 or len(self.running) == self.max_num_seqs:
                break
            if self.is_being_computed(request):
                continue
            if not self.pages.admit(request, num_spare=len(self.running)):
                break
            self.start(request)
            admitted.append(request)
            budget -= self.chunk_size(request, budget)
        return admitted

    def preempt(self) -> Request:
        """Make the running request that arrived last wait again, so that its pages can serve the others; return it.

        It need not have lost the least, but if the oldest always stays, that gets on and ends, and so do all in turn.
        It waits in its place by arrival, with what it has generated. What it has computed stays in the cache until it
        is evicted. The preemption counts in its `num_preemptions` and is noted in `preempted`.
        """
        victim = max(self.running, key=attrgetter("arrival"))
        self.running.remove(victim)
        self.pages.give_back(victim)
        victim.num_preemptions += 1
        insort(self.waiting, victim, key=attrgetter("arrival"))
        self.preempted.append(victim)
        return victim

    def admission_order(self) -> list[Request]:
        """The oldest waiting requests, at most `MAX_CONSIDERED`, in the order in which they should be admitted."""
        if len(self.running) == self.max_num_seqs:
            return []
        key = POLICIES[self.policy]
        return sorted(islice(self.waiting, MAX_CONSIDERED), key=lambda request: key(self, request))

    def is_being_computed(self, request: Request) -> bool:
        """Whether a running prefill is about to publish a page of this request's that the cache does not have."""
        prefills = [other.token_ids for other in self.running if not other.is_decode]
        useful = self.pages.cache.first_missing(request.token_ids[:-1]) if prefills else request.num_tokens
        if request.num_tokens <= useful:
            return False
        beginning = request.token_ids[:useful]
        last = beginning[-1]  # looked at first: what is cached may be long, and most part behind it
        alike = (each for each in prefills if len(each) >= useful and each[useful - 1] == last)
        return any(np.array_equal(each[:useful], beginning) for each in alike)

    def start(self, request: Request) -> None:
        """Move an admitted request from the waiting to the running ones, and count whom it overtook."""
        for other in islice(self.waiting, MAX_CONSIDERED):
            if other.arrival >= request.arrival:
                break
            other.num_overtaken += 1
        self.waiting.remove(request)
        self.running.append(request)
        if request.num_cached_tokens is None:
            request.num_cached_tokens = request.num_computed_tokens

    def finish(self, request: Request, reason: str, error: str | None = None, *, keep: bool = True) -> None:
        """End a waiting or running request. `keep` leaves what it computed in the prefix cache."""
        if request.status is Status.RUNNING:
            self.running.remove(request)
            self.pages.give_back(request, keep=keep)
        else:
            self.waiting.remove(request)
        request.finish(reason, error)
