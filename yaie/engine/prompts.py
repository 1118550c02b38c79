"""What a prompt may be, and how it becomes token ids. Each ValueError says what is wrong with it, not whose it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Prompt = str | Sequence[int] | Sequence[Mapping[str, Any]]


def as_prompts(prompts: Prompt | Sequence[Prompt]) -> list[Prompt]:
    """One prompt or many, as a list of prompts. A list of ints is one prompt, and so is a list of messages."""
    if isinstance(prompts, str):
        return [prompts]
    prompts = list(prompts)
    if prompts and isinstance(prompts[0], int | Mapping):
        return [prompts]
    return prompts


def encode(prompt: Prompt, tokenizer: Any) -> list[int]:
    """The token ids of a text, of a chat by the model's chat template, or of a list of ids: those, unchecked."""
    if not isinstance(prompt, str):
        try:
            prompt = list(prompt)
        except TypeError:
            kind = type(prompt).__name__
            raise ValueError(f"a prompt is a str, a list of token ids or a list of messages, got {kind}") from None
    if isinstance(prompt, list) and not (prompt and isinstance(prompt[0], Mapping)):
        return prompt
    if tokenizer is None:
        raise ValueError("this model has no tokenizer, so prompts must be token ids")
    try:
        if isinstance(prompt, str):
            return tokenizer.encode(prompt)
        for place, message in enumerate(prompt):
            for key in ("role", "content"):
                if key not in message:
                    raise ValueError(f"message {place} has no {key!r}: {message!r}")
        return tokenizer.apply_chat_template(prompt)
    except TypeError as error:
        raise ValueError(str(error)) from error


def validate(token_ids: Sequence[int], vocab_size: int, max_model_len: int, num_blocks: int, block_size: int) -> None:
    """Raise ValueError unless the model knows the tokens, and model and pool have room for them and an answer."""
    if not token_ids:
        raise ValueError("the prompt is empty; it needs at least one token")
    if set(map(type, token_ids)) != {int} or min(token_ids) < 0 or max(token_ids) >= vocab_size:
        for place, token_id in enumerate(token_ids):
            if not isinstance(token_id, int) or isinstance(token_id, bool) or not 0 <= token_id < vocab_size:
                known = f"the model knows the ids 0 to {vocab_size - 1}"
                raise ValueError(f"token {place} of the prompt is {token_id!r}; {known}")
    what, pool = f"a prompt of {len(token_ids)} tokens", f"{num_blocks} pages of {block_size} tokens"
    if len(token_ids) >= max_model_len:
        raise ValueError(f"{what} leaves no room for an answer; prompt and answer together may have {max_model_len}")
    if len(token_ids) >= num_blocks * block_size:
        raise ValueError(f"{what} does not fit; the pool holds {pool}, {num_blocks * block_size} in all")
