from __future__ import annotations

from .. import clinic
from ..common import are_ints, expose, shared, valid


def check() -> None:
    pair = clinic.stored_and_asked()
    ok = isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(p, list | tuple) for p in pair)
    ok = ok and all(1 <= len(prompt) <= 8 and are_ints(prompt, 0, 10**6) for prompt in pair)
    valid(ok, pair, "two lists of 1 to 8 token ids")
    stored, asked = pair
    text = f"a tree that holds {stored}; find_shared_prefixes({asked})"
    expose("10.4", "find_shared_prefixes", text, lambda: shared(stored, asked))
