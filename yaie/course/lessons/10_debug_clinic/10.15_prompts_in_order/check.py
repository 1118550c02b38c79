from __future__ import annotations

from .. import clinic
from ..common import are_ints, evicted_after, expose, valid


def check() -> None:
    prompts = clinic.prompts_in_order()
    ok = isinstance(prompts, list | tuple) and 1 <= len(prompts) <= 10
    ok = ok and all(isinstance(p, list | tuple) and 1 <= len(p) <= 4 and are_ints(p, 0, 10**6) for p in prompts)
    valid(ok, prompts, "1 to 10 prompts of 1 to 4 token ids")
    expose("10.16", "PrefixCache.match", f"prompts_in_order() == {prompts}", lambda: evicted_after(prompts))
