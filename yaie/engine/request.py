"""A request: its tokens in one growing array, a few lengths, and how it ended.

    WAITING --admit--> RUNNING --finish--> FINISHED      running: pages for all of `token_ids` but perhaps the newest,
       ^                  |                              and at least one token is not computed
       +-----preempt------+                              waiting, finished: no pages, num_computed_tokens == 0

    token_ids   | prompt ..................... | generated ...... |
                                               num_prompt_tokens  num_tokens
                0 <= num_published_tokens <= num_computed_tokens <= num_tokens

Nothing tells prefill from decode but the lengths. A request computes the keys and values of `token_ids`, in order,
some in each step. When all are computed, the logits of the last give one more token. So a prompt, a chunk of a prompt,
a prompt that comes back after a preemption (with what it had generated) and a decode are the same thing with another
`num_uncomputed_tokens`.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field

import numpy as np

from yaie.engine.output import Delivery, TextStream, TokenLogprobs
from yaie.engine.sampling_params import SamplingParams
from yaie.kernels.radix_tree import Node


class Status(enum.Enum):
    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"


@dataclass(eq=False, slots=True)
class Request:
    """One prompt in flight. Compared and hashed by identity."""

    request_id: str  # the name under which the pool keeps its block table
    prompt: InitVar[Sequence[int] | np.ndarray]  # its token ids; they are copied
    params: SamplingParams
    arrival: int  # its number; who came first has the smaller one
    max_tokens: int  # to generate: what was asked for, or less if the model or the pool ends before
    text: TextStream  # of the answer, as far as it is known to be text and not the beginning of a stop string
    seed: int = 0  # of its random numbers: its own, so that its text does not depend on who shares its batch
    queue: deque[Delivery] = field(default_factory=deque)  # where the chunks of its answer go; others may share it
    index: int = 0  # which of the prompts of its stream; its chunks say so
    stop_ids: frozenset[int] = frozenset()  # tokens that end the answer
    num_tokens: int = field(init=False)
    num_prompt_tokens: int = field(init=False)
    num_computed_tokens: int = field(init=False)  # their keys and values are in the pages of this request
    num_published_tokens: int = field(init=False)  # of those, in pages that belong to the prefix cache; whole pages
    locked_node: Node | None = field(init=False)  # where these end in the prefix cache; None if it has no pages
    num_pending: int = 0  # tokens that steps in flight will give it (see `expect`)
    num_delivered_tokens: int = 0  # of the answer: those in chunks that went into the queue
    num_cached_tokens: int | None = None  # found in the prefix cache when it was first admitted
    num_overtaken: int = 0  # how many later requests were admitted while it waited
    num_preemptions: int = 0
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    finish_reason: str | None = None
    error: str | None = None
    _tokens: np.ndarray = field(init=False)

    def __post_init__(self, prompt: Sequence[int] | np.ndarray) -> None:
        self._tokens = np.array(prompt, dtype=np.int64)
        self.num_tokens = self.num_prompt_tokens = len(self._tokens)
        self.hold(None, 0, 0)

    def append(self, token_id: int) -> None:
        """Add a generated token, in the place that waits for it if there is one."""
        known = self.num_known_tokens
        if self.num_pending:
            self.num_pending -= 1
        if known < self.num_tokens:
            self._tokens[known] = token_id
        else:
            self._add(token_id)

    def uncomputed(self, num_tokens: int) -> np.ndarray:
        """The next so many tokens to compute: a view."""
        return self._tokens[self.num_computed_tokens : self.num_computed_tokens + num_tokens]

    def _add(self, token_id: int) -> None:
        """A full array doubles, so this costs the same however many tokens there are."""
        if self.num_tokens == len(self._tokens):
            self._tokens = np.concatenate((self._tokens, np.empty_like(self._tokens)))
        self._tokens[self.num_tokens] = token_id
        self.num_tokens += 1

    def hold(self, node: Node | None, num_published: int, num_computed: int) -> None:
        """What it has in the prefix cache and in its pages. Nothing else writes these three."""
        self.locked_node, self.num_published_tokens, self.num_computed_tokens = node, num_published, num_computed

    def expect(self, place: int) -> None:
        """A step that computes its newest token is in flight, and will give it the next one: number `place` of those
        that the step gives. That stands in its `token_ids` as -1 - place until it is known; all lengths are as they
        will be. Its last token gets no place: nothing follows it.
        """
        self.num_pending += 1
        if self.num_tokens + 1 < self.num_prompt_tokens + self.max_tokens:
            self._add(-1 - place)

    def expect_nothing(self) -> None:
        """It ends, or waits: what steps in flight will give it is not wanted, as if they had been without it."""
        if self.num_pending:
            self.num_tokens = self.num_known_tokens
            self.num_pending = 0
            self.hold(self.locked_node, self.num_published_tokens, self.num_tokens - 1)

    def finish(self, reason: str, error: str | None = None) -> None:
        """End it: no token follows, and no text is held back any more."""
        self.finish_reason = reason
        self.error = None if error is None else f"request {self.request_id!r}: {error}"
        self.text.finish()

    def rewind(self, num_output_tokens: int, text: TextStream) -> None:
        """Wait, with so many generated tokens, as if what came after them had never been; `text` is a new one."""
        self.num_tokens, self.num_pending = self.num_prompt_tokens + num_output_tokens, 0
        self.hold(None, 0, 0)
        self.finish_reason = self.error = None
        del self.logprobs[num_output_tokens:]
        self.text = text
        for token_id in self.output_token_ids.tolist():
            text.push(token_id)
        text.take()

    # Views, int64.

    @property
    def token_ids(self) -> np.ndarray:
        return self._tokens[: self.num_tokens]

    @property
    def prompt_token_ids(self) -> np.ndarray:
        return self._tokens[: self.num_prompt_tokens]

    @property
    def output_token_ids(self) -> np.ndarray:
        return self._tokens[self.num_prompt_tokens : self.num_known_tokens]

    @property
    def num_output_tokens(self) -> int:
        return self.num_known_tokens - self.num_prompt_tokens

    @property
    def num_known_tokens(self) -> int:
        """`num_tokens` without those that steps in flight will give."""
        return self.num_computed_tokens + 1 - self.num_pending if self.num_pending else self.num_tokens

    @property
    def num_uncomputed_tokens(self) -> int:
        """Tokens still to be computed; 1 may be a decode (`is_decode`), more is a prompt or the rest of one."""
        return self.num_tokens - self.num_computed_tokens

    @property
    def is_decode(self) -> bool:
        """Whether only the newest generated token is left to compute."""
        return self.num_tokens - self.num_computed_tokens == 1 and self.num_tokens > self.num_prompt_tokens

    @property
    def status(self) -> Status:
        """Follows from the rest: who has a reason to be finished is, who has pages runs, all others wait."""
        if self.finish_reason is not None:
            return Status.FINISHED
        return Status.WAITING if self.locked_node is None else Status.RUNNING

    @property
    def is_finished(self) -> bool:
        return self.finish_reason is not None

    def check(self) -> None:
        """Raise AssertionError unless the lengths are those of the status (see the top of this file)."""
        published, computed, total = lengths = self.num_published_tokens, self.num_computed_tokens, self.num_tokens
        ok = 0 <= published <= computed <= total and 0 < self.num_prompt_tokens <= total
        runs = self.status is Status.RUNNING
        ok = ok and (computed < total + (self.num_pending > 0) if runs else computed == 0 and self.locked_node is None)
        what = f"published, computed, all = {lengths}, prompt {self.num_prompt_tokens}"
        assert ok, f"request {self.request_id!r} is {self.status.value} with {what}"
