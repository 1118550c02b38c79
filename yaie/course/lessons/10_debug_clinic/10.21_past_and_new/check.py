from __future__ import annotations

from .. import clinic
from ..common import are_ints, expose, means_seen, valid


def check() -> None:
    tokens = clinic.past_and_new()
    ok = isinstance(tokens, list | tuple) and len(tokens) == 2 and are_ints(tokens, 0, 24)
    valid(
        ok and tokens[1] > 0 and sum(tokens) <= 24, tokens, "a tuple (past, new): new at least 1, together at most 24"
    )
    expose("10.22", "causal_attention", f"past_and_new() == {tuple(tokens)}", lambda: means_seen(*tokens))
