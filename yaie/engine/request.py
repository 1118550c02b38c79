"""A request: a list of tokens, a few lengths, and how it ended.

The life of a request:

    WAITING --admit--> RUNNING --finish--> FINISHED
       ^                  |
       +-----preempt------+

Nothing tells prefill from decode but the lengths. A request computes the keys and values of `token_ids`, in order,
some in each step. When all are computed, the logits of the last give one more token. So a prompt, a chunk of a prompt,
a prompt that comes back after a preemption (with what it had generated) and a decode are the same thing with another
`num_uncomputed_tokens`.

    token_ids   | prompt ............................. | generated ...... |
                0 <= num_cached_tokens                 num_prompt_tokens   num_tokens
                0 <= num_published_tokens <= num_computed_tokens <= num_tokens

    waiting     no pages, num_computed_tokens == 0
    running     pages for all of `token_ids` but perhaps the newest; at least one token is not computed
    finished    no pages
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Any

from yaie.engine.output import TextStream, TokenLogprobs
from yaie.engine.sampling_params import SamplingParams
from yaie.kernels.radix_tree import Node


class Status(enum.Enum):
    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"


@dataclass(eq=False, slots=True)
class Request:
    """One prompt on its way through the engine. Compared and hashed by identity.

    request_id: the name under which the pool keeps its block table
    token_ids: prompt, and what has been generated
    num_prompt_tokens: how many of them are the prompt
    params: what was asked for
    arrival: the number of the request; who came first has the smaller one
    max_tokens: how many tokens it may generate: what was asked for, or less if the model or the pool ends before
    text: the generated text, as far as it is known to be text and not the beginning of a stop string
    generator: draws for this request only, so that its text does not depend on who shares its batch

    num_computed_tokens: tokens whose keys and values are in the pages of this request
    num_published_tokens: how many of those lie in pages that belong to the prefix cache; whole pages
    num_cached_tokens: how many it found in the prefix cache when it was first admitted
    locked_node: the node of the prefix cache that ends at `num_published_tokens`, locked by this request
    num_overtaken: how many later requests were admitted while it waited
    """

    request_id: str
    token_ids: list[int]
    num_prompt_tokens: int
    params: SamplingParams
    arrival: int
    max_tokens: int
    text: TextStream
    generator: Any = None
    status: Status = Status.WAITING
    num_computed_tokens: int = 0
    num_published_tokens: int = 0
    num_cached_tokens: int | None = None
    locked_node: Node | None = None
    num_overtaken: int = 0
    num_preemptions: int = 0
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    finish_reason: str | None = None
    error: str | None = None

    @property
    def num_tokens(self) -> int:
        return len(self.token_ids)

    @property
    def num_output_tokens(self) -> int:
        return len(self.token_ids) - self.num_prompt_tokens

    @property
    def num_uncomputed_tokens(self) -> int:
        """Tokens still to be computed; 1 is a decode, more is a prompt or the rest of one."""
        return len(self.token_ids) - self.num_computed_tokens

    @property
    def prompt_token_ids(self) -> list[int]:
        return self.token_ids[: self.num_prompt_tokens]

    @property
    def output_token_ids(self) -> list[int]:
        return self.token_ids[self.num_prompt_tokens :]

    @property
    def is_decode(self) -> bool:
        """True when only the newest generated token is left to compute."""
        return self.num_uncomputed_tokens == 1 and self.num_output_tokens > 0

    @property
    def is_finished(self) -> bool:
        return self.status is Status.FINISHED

    def check(self) -> None:
        """Raise AssertionError unless the lengths are those of the status (see the top of this file)."""
        lengths = (self.num_published_tokens, self.num_computed_tokens, self.num_tokens)
        ok = 0 <= lengths[0] <= lengths[1] <= lengths[2] and 0 < self.num_prompt_tokens <= self.num_tokens
        if self.status is Status.RUNNING:
            ok = ok and self.num_uncomputed_tokens > 0
        else:
            ok = ok and self.num_published_tokens == 0 and self.locked_node is None
        if self.status is Status.WAITING:
            ok = ok and self.num_computed_tokens == 0
        if not ok:
            raise AssertionError(
                f"request {self.request_id!r} is {self.status.value} with published, computed, all = {lengths}, "
                f"prompt {self.num_prompt_tokens}"
            )
