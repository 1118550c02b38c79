from __future__ import annotations

from .. import clinic
from ..common import append_to_fork, are_ints, expose, valid


def check() -> None:
    case = clinic.pool_and_tokens()
    ok = isinstance(case, list | tuple) and len(case) == 3 and are_ints(case, 1, 32)
    valid(
        ok and case[0] <= 8 and case[1] <= 4 * case[0], case, "num_blocks (1 to 8), a prompt that fits, more (1 to 32)"
    )
    num_blocks, prompt, more = case
    text = f"{num_blocks} blocks of 4; parent: {prompt} tokens; append_tokens('child', {more})"
    expose("10.14", "append_tokens", text, lambda: append_to_fork(*case))
