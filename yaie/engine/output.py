"""What comes out of the engine: text as it grows, and the finished answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from yaie.models.tokenizer import Detokenizer


class TokenLogprobs(NamedTuple):
    token_id: int  # the chosen token
    logprob: float  # its log-probability, before temperature and filters
    top: list[tuple[int, float]]  # as many of the likeliest tokens as were asked for, with theirs, likeliest first


@dataclass(frozen=True)
class RequestOutput:
    """A finished request."""

    request_id: str
    text: str  # without the stop string or the end token that ended it
    token_ids: list[int]  # what was generated, the token that ended the answer included
    prompt_token_ids: list[int]  # the prompt as the model saw it
    num_cached_tokens: int  # of the prompt: found in the prefix cache and not computed again
    # "stop" (an end token or a stop string), "length" (max_tokens, or the end of the model or of the pool), "abort",
    # or "error" (then `error` says what went wrong)
    finish_reason: str
    logprobs: list[TokenLogprobs] | None = None  # one entry for each generated token, if they were asked for
    error: str | None = None

    @property
    def num_prompt_tokens(self) -> int:
        return len(self.prompt_token_ids)

    @property
    def num_output_tokens(self) -> int:
        return len(self.token_ids)


class StreamChunk(NamedTuple):
    """What one step added to a request."""

    request_id: str
    text: str  # may be empty: a token may be half a character, or the beginning of a stop string
    token_ids: list[int]
    output: RequestOutput | None = None  # the whole answer, with the last chunk of a request
    index: int = 0  # which of the prompts given to `LLM.stream`
    logprobs: Sequence[TokenLogprobs] = ()  # one entry for each of the tokens, if they were asked for


class Delivery(NamedTuple):
    """A chunk for whoever waits for it."""

    request: Any  # whose it is; None if it was refused
    num_output_tokens: int  # that it has with this chunk
    chunk: StreamChunk


@dataclass(eq=False, slots=True)
class TextStream:
    """The text of an answer while it grows. It ends before the first stop string, which may span several tokens.

    What could still turn out to be the beginning of a stop string is in `text`, but `take` holds it back.
    """

    detokenizer: Detokenizer | None  # None: nothing will be added any more
    stop: Sequence[str] = ()
    text: str = ""
    num_taken: int = 0

    def push(self, token_id: int) -> bool:
        """Add a token. Returns True if it completed a stop string; `text` then ends before that."""
        return self.detokenizer is not None and self._add(self.detokenizer.add(token_id))

    def finish(self) -> bool:
        """No token follows: nothing is held back any more, not even half a character. Returns as `push`."""
        detokenizer, self.detokenizer = self.detokenizer, None
        return detokenizer is not None and self._add(detokenizer.finish())

    def take(self) -> str:
        """The text that is new since the last call and certain."""
        held = 0
        if self.detokenizer is not None:  # the next token may complete a stop string
            lengths = ((stop, n) for stop in self.stop for n in range(1, min(len(stop), len(self.text) + 1)))
            held = max((n for stop, n in lengths if self.text.endswith(stop[:n])), default=0)
        end = len(self.text) - held
        new, self.num_taken = self.text[self.num_taken : end], end
        return new

    def _add(self, new: str) -> bool:
        longest = max(map(len, self.stop), default=1)
        unseen = max(0, len(self.text) - longest + 1)  # a stop string may begin in the old text
        self.text += new
        found = [at for stop in self.stop if (at := self.text.find(stop, unseen)) >= 0]
        if found:
            self.text, self.detokenizer = self.text[: min(found)], None
        return bool(found)
