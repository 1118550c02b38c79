"""OpenAI's interface as far as the engine can serve it: what a body may say, and what an answer looks like.

Source: https://platform.openai.com/docs/api-reference (completions, chat). Nothing is ignored in silence: a parameter
that the engine does not have is refused by its name, unless it asks for what happens anyway.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from yaie.engine.output import RequestOutput, TokenLogprobs
from yaie.engine.prompts import Prompt, as_prompts
from yaie.engine.sampling_params import SamplingParams
from yaie.kernels.checks import describe, is_integer

MAX_CHOICES = 64  # answers that one request may ask for: prompts times n
MAX_TOP_LOGPROBS = 20
COMPLETION_TOKENS = 16  # OpenAI's default for max_tokens; a chat has none

# What goes to the engine as it is, and says itself what it must be. Those below the line are not OpenAI's.
PARAMETERS = (
    *("temperature", "top_p", "presence_penalty", "seed", "max_tokens", "stop"),
    *("top_k", "min_p", "repetition_penalty", "stop_token_ids", "ignore_eos"),
)
# What the engine cannot do, with the values that ask for nothing.
UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "tool_choice": ("none",),
    "response_format": ({"type": "text"},),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
}


class BadRequest(Exception):
    """What is wrong with a request, which parameter it is, and the HTTP status."""

    def __init__(self, message: str, param: str | None = None, status: int = 400, code: str | None = None) -> None:
        super().__init__(message)
        self.message, self.param, self.status, self.code = message, param, status, code

    def body(self) -> dict[str, Any]:
        return error_body(self.message, self.status, self.param, self.code)


def error_body(message: str, status: int, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    kinds = {401: "authentication_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "server_error" if status >= 500 else "invalid_request_error")
    if param is not None:  # a name that a client made up may have half a character in it
        param = param.encode(errors="backslashreplace").decode()
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


@dataclass(frozen=True)
class Order:
    """What a body asks for: `n` answers to each prompt, of which the engine knows `params`."""

    prompts: list[Prompt]
    params: SamplingParams
    is_chat: bool
    model: str
    n: int = 1
    stream: bool = False
    include_usage: bool = False

    def choices(self) -> list[tuple[int, SamplingParams]]:
        """Of each answer the number of its prompt, and its parameters: with a seed, answers to one prompt differ."""
        params = [self.params] * self.n
        if self.params.seed is not None:
            params = [replace(self.params, seed=(self.params.seed + i) % 2**63) for i in range(self.n)]
        return [(number, each) for number in range(len(self.prompts)) for each in params]


# ---- what a request says


def read_order(text: bytes, is_chat: bool, served: str, longest: int) -> Order:
    """The order in the body of a request. Raises `BadRequest`.

    served: the name of the model; longest: the most tokens that an answer can have
    """
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise BadRequest(f"the body must be a JSON object, got {describe(body)}")
    body = {name: value for name, value in body.items() if value is not None}  # null is as good as left out
    take = _Taking(body)
    model = take("model", "the name of a model", lambda value: isinstance(value, str))
    if model != served:
        raise BadRequest(f"there is no model {model!r}; this server has {served!r}", "model", 404, "model_not_found")
    prompts = _messages(take) if is_chat else _prompts(take)
    n = take("n", f"an integer from 1 to {MAX_CHOICES}", lambda value: _in(value, 1, MAX_CHOICES), 1)
    if n * len(prompts) > MAX_CHOICES:
        raise BadRequest(f"{len(prompts)} prompts times n = {n} is more than the {MAX_CHOICES} answers allowed", "n")
    stream = take("stream", "true or false", _is_flag, False)
    include_usage = _include_usage(take, stream)
    wanted = _logprobs(take, is_chat)
    called = {}
    if is_chat and "max_completion_tokens" in body:
        if "max_tokens" in body:
            raise BadRequest("max_tokens is the old name of max_completion_tokens; give one of the two", "max_tokens")
        body["max_tokens"], called["max_tokens"] = body.pop("max_completion_tokens"), "max_completion_tokens"
    given = {name: body.pop(name) for name in PARAMETERS if name in body}
    _refuse_the_rest(body)
    return Order(
        prompts,
        _params({"max_tokens": longest if is_chat else COMPLETION_TOKENS} | given | {"logprobs": wanted}, called),
        is_chat=is_chat,
        model=model,
        n=n,
        stream=stream,
        include_usage=include_usage,
    )


_REQUIRED = object()


@dataclass
class _Taking:
    """Takes fields out of a body, so that what is left at the end is unknown."""

    body: dict[str, Any]

    def __call__(self, name: str, expected: str, is_right: Callable[[Any], bool], default: Any = _REQUIRED) -> Any:
        if name not in self.body:
            if default is _REQUIRED:
                raise BadRequest(f"{name} is missing; it must be {expected}", name)
            return default
        value = self.body.pop(name)
        if not is_right(value):
            raise BadRequest(f"{name} must be {expected}, got {describe(value)}", name)
        return value


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _in(value: Any, least: int, most: int) -> bool:
    return is_integer(value) and least <= value <= most


def _prompts(take: _Taking) -> list[Prompt]:
    prompt = take("prompt", "a string, token ids, or a list of these", lambda value: isinstance(value, str | list))
    prompts = as_prompts(prompt)
    if not 1 <= len(prompts) <= MAX_CHOICES:
        raise BadRequest(f"prompt must hold 1 to {MAX_CHOICES} prompts, got {len(prompts)}", "prompt")
    for each in prompts:
        if not (isinstance(each, str) or (isinstance(each, list) and all(is_integer(token) for token in each))):
            raise BadRequest(f"a prompt must be a string or a list of token ids, got {describe(each)}", "prompt")
    return prompts


def _messages(take: _Taking) -> list[Prompt]:
    messages = take("messages", "a list of messages", lambda value: isinstance(value, list) and len(value) > 0)
    return [[_message(message, place) for place, message in enumerate(messages)]]


def _message(message: Any, place: int) -> dict[str, str]:
    """A message as every chat template takes it. What is null or empty in it asks for nothing: answers of the `openai`
    package have such fields, and come back as messages.
    """
    given = message if isinstance(message, dict) else {}
    role, content = given.get("role"), given.get("content")
    if isinstance(content, list):
        content = "".join(_text_of(part, place) for part in content)
    if not (isinstance(role, str) and isinstance(content, str)):
        raise BadRequest(f"message {place} must be an object with role and content, which are text", "messages")
    for name, value in given.items():
        if name not in ("role", "content") and value not in (None, [], {}):
            raise BadRequest(f"message {place} has {name[:100]!r}, which is not supported", "messages")
    return {"role": role, "content": content}


def _text_of(part: Any, place: int) -> str:
    if not (isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)):
        raise BadRequest(f"message {place} has a part that is not text: {describe(part)}", "messages")
    if others := part.keys() - {"type", "text"}:
        raise BadRequest(f"message {place} has a part with {min(others)[:100]!r}, which is not supported", "messages")
    return part["text"]


def _include_usage(take: _Taking, stream: bool) -> bool:
    options = take("stream_options", "an object", lambda value: isinstance(value, dict), {})
    if options and not stream:
        raise BadRequest("stream_options needs stream: true", "stream_options")
    take = _Taking(dict(options))
    include = take("include_usage", "true or false", _is_flag, False)
    if take.body:
        raise BadRequest(f"stream_options has an unknown field {min(take.body)!r}", "stream_options")
    return include


def _logprobs(take: _Taking, is_chat: bool) -> int | None:
    """How many of the likeliest tokens to report; None: nothing. A chat asks in two fields, a completion in one."""
    expected = f"an integer from 0 to {MAX_TOP_LOGPROBS}"
    if not is_chat:
        return take("logprobs", expected, lambda value: _in(value, 0, MAX_TOP_LOGPROBS), None)
    wanted = take("logprobs", "true or false", _is_flag, False)
    top = take("top_logprobs", expected, lambda value: _in(value, 0, MAX_TOP_LOGPROBS), None)
    if top is not None and not wanted:
        raise BadRequest("top_logprobs needs logprobs: true", "top_logprobs")
    return (top or 0) if wanted else None


def _refuse_the_rest(body: Mapping[str, Any]) -> None:
    for name, value in body.items():
        nothing = UNSUPPORTED.get(name, ())
        if name not in UNSUPPORTED:
            raise BadRequest(f"unknown parameter {name[:100]!r}", name[:100], code="unknown_parameter")
        if not any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in nothing):
            raise BadRequest(f"{name} is not supported", name, code="unsupported_parameter")


def _params(given: Mapping[str, Any], called: Mapping[str, str]) -> SamplingParams:
    """The engine's parameters, which know by themselves what they must be; one at a time, to name the wrong one.

    called: what the request calls those that have another name there
    """
    for name, value in given.items():
        try:
            SamplingParams(**{name: value})
        except ValueError as error:
            said, theirs = str(error).removeprefix("SamplingParams: "), called.get(name, name)
            raise BadRequest(said.replace(name, theirs, 1), theirs) from None
    return SamplingParams(**given)


def refusal(error: ValueError, prompt: str) -> BadRequest:
    """What the engine said of an order that it cannot serve. If a parameter is wrong, that is its first word; else it
    is about the field `prompt`. Clients do not know the engine's ids."""
    said = re.sub(r"^request '[^']*': ", "", str(error))
    name = said.partition(" ")[0]
    return BadRequest(said, name if name in PARAMETERS else prompt)


# ---- what an answer looks like


@dataclass
class Shape:
    """Puts answers to one order into OpenAI's shapes. Without a tokenizer tokens are shown as numbers."""

    order: Order
    id: str
    tokenizer: Any
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, outputs: Sequence[RequestOutput]) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        choices = []
        for index, output in enumerate(outputs):
            said = {"message": {"role": "assistant", "content": output.text}}
            choices.append(
                {
                    "index": index,
                    **(said if self.order.is_chat else {"text": output.text}),
                    "logprobs": self._logprobs(output.logprobs or [], 0, output.prompt_token_ids),
                    "finish_reason": output.finish_reason,
                }
            )
        return {**self._head(""), "choices": choices, "usage": usage(outputs, self.order.n)}

    def piece(
        self, index: int, text: str, logprobs: Sequence[TokenLogprobs], reason: str | None, offset: int, is_first: bool
    ) -> dict[str, Any]:
        """One event of a stream. `offset`: how many characters of the answer came before."""
        said = {"delta": {**({"role": "assistant"} if is_first else {}), "content": text}}
        choice = {
            "index": index,
            **(said if self.order.is_chat else {"text": text}),
            "logprobs": self._logprobs(logprobs, offset),
            "finish_reason": reason,
        }
        return {**self._head(".chunk"), "choices": [choice], **({"usage": None} if self.order.include_usage else {})}

    def last(self, outputs: Sequence[RequestOutput]) -> dict[str, Any]:
        """The event with the usage, after all others."""
        return {**self._head(".chunk"), "choices": [], "usage": usage(outputs, self.order.n)}

    def _head(self, streamed: str) -> dict[str, Any]:
        kind = f"chat.completion{streamed}" if self.order.is_chat else "text_completion"
        return {"id": self.id, "object": kind, "created": self.created, "model": self.order.model}

    def text_of(self, token_id: int) -> str:
        return self.tokenizer.decode([token_id], skip_special_tokens=False) if self.tokenizer else str(token_id)

    def _logprobs(
        self, entries: Sequence[TokenLogprobs], offset: int, prompt: Sequence[int] = ()
    ) -> dict[str, Any] | None:
        if self.order.params.logprobs is None:
            return None
        if self.order.is_chat:
            return {"content": [self._chat_logprob(entry) for entry in entries]}
        offsets = [offset] * len(entries)
        if self.tokenizer:
            text = self.tokenizer.detokenizer()  # a special token is none of the text, and half a character not yet
            text.follow(prompt)
            for place, entry in enumerate(entries):
                offsets[place] = offset
                offset += len(text.add(entry.token_id))
        return {
            "tokens": [self.text_of(entry.token_id) for entry in entries],
            "token_logprobs": [entry.logprob for entry in entries],
            "top_logprobs": [{self.text_of(token): value for token, value in entry.top} for entry in entries],
            "text_offset": offsets,
        }

    def _chat_logprob(self, entry: TokenLogprobs) -> dict[str, Any]:
        def one(token_id: int, logprob: float) -> dict[str, Any]:
            text = self.text_of(token_id)
            return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

        return {
            **one(entry.token_id, entry.logprob),
            "top_logprobs": [one(token_id, logprob) for token_id, logprob in entry.top],
        }


def usage(outputs: Sequence[RequestOutput], n: int) -> dict[str, Any]:
    """The accounts of an order. A prompt counts once, however many answers it has."""
    prompts = outputs[::n]
    prompt, completion = sum(o.num_prompt_tokens for o in prompts), sum(o.num_output_tokens for o in outputs)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": sum(each.num_cached_tokens for each in prompts)},
    }
