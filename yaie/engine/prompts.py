"""What a prompt may be, and how it becomes token ids. Each ValueError says what is wrong with it, not whose it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from numbers import Number
from typing import Any

from yaie.kernels.checks import describe, is_integer, require

Prompt = str | Sequence[int] | Sequence[Mapping[str, Any]]  # ids also as an array or a tensor

KINDS = "a str, a list of token ids (or an array of integers) or a list of messages"


def as_prompts(prompts: Prompt | Sequence[Prompt]) -> list[Prompt]:
    """One prompt or many, as a list of prompts. A list of ids is one prompt, and so is a list of messages."""
    if isinstance(prompts, str):
        return [prompts]
    prompts = _as_list(prompts, f"prompts must be {KINDS}, or a list of these")
    return [prompts] if prompts and isinstance(prompts[0], Number | Mapping) else prompts


def encode(prompt: Prompt, tokenizer: Any) -> list[int]:
    """The token ids of a text, of a chat by the model's chat template, or of a list of ids: those, unchecked."""
    if not isinstance(prompt, str):
        prompt = _as_list(prompt, f"a prompt must be {KINDS}")
        if not prompt or not isinstance(prompt[0], Mapping):
            return prompt
        for place, message in enumerate(prompt):
            _check_message(place, message)
        prompt = [dict(message) for message in prompt]  # a template takes plain ones
    require(tokenizer is not None, "this model has no tokenizer, so prompts must be token ids")
    try:
        return tokenizer.encode(prompt) if isinstance(prompt, str) else tokenizer.apply_chat_template(prompt)
    except ValueError:
        raise
    except Exception as error:  # of a library or a template that knows nothing of us: of this prompt all the same
        raise ValueError(f"the tokenizer cannot take it: {type(error).__name__}: {error}") from error


def validate(token_ids: Sequence[int], vocab_size: int, max_model_len: int, num_blocks: int, block_size: int) -> None:
    """Raise ValueError unless the model knows the tokens, and model and pool have room for them and an answer."""
    require(len(token_ids) > 0, "the prompt is empty; it needs at least one token")
    if set(map(type, token_ids)) != {int} or min(token_ids) < 0 or max(token_ids) >= vocab_size:  # quickly first
        for place, token_id in enumerate(token_ids):
            known = is_integer(token_id) and 0 <= token_id < vocab_size
            wrong = f"token {place} of the prompt is {describe(token_id)}"
            require(known, f"{wrong}; the model knows the ids 0 to {vocab_size - 1}")
    what, pool = f"a prompt of {len(token_ids)} tokens", f"{num_blocks} pages of {block_size} tokens"
    longest = f"prompt and answer together may have {max_model_len}"
    require(len(token_ids) < max_model_len, f"{what} leaves no room for an answer; {longest}")
    fits = len(token_ids) < num_blocks * block_size
    require(fits, f"{what} does not fit; the pool holds {pool}, {num_blocks * block_size} in all")


def _as_list(value: Any, expected: str) -> list:
    """What has an order as a list; arrays and tensors as Python's own numbers."""
    require(not isinstance(value, Mapping), f"{expected}; a message goes into a list: [message]", value)
    ordered = isinstance(value, Iterable) and not isinstance(value, bytes | bytearray | memoryview | Set)
    ordered &= getattr(value, "ndim", 1) > 0 and not getattr(value, "is_meta", False)
    ordered &= not getattr(value, "is_sparse", False)
    require(ordered, expected, value)
    return value.tolist() if hasattr(value, "tolist") else list(value)


def _check_message(place: int, message: Any) -> None:
    require(isinstance(message, Mapping), f"message {place} must be a dict with role and content", message)
    for key, kinds in (("role", str), ("content", str | list | None)):
        require(key in message, f"message {place} has no {key!r}", message)
        require(isinstance(message[key], kinds), f"{key!r} of message {place} must be a str", message[key])
