from __future__ import annotations

from .. import clinic
from ..common import are_ints, expose, stored, valid


def check() -> None:
    slots = clinic.slots_of_new_tokens()
    ok = isinstance(slots, list | tuple) and 1 <= len(slots) <= 4 and are_ints(slots, -4, 3)
    used = [slot for slot in slots if slot >= 0] if ok else []
    valid(ok and len(set(used)) == len(used), slots, "1 to 4 slots from -4 to 3, none from 0 on twice")
    text = f"slots_of_new_tokens() == {list(slots)}"
    expose("10.12", "reshape_and_cache_kernel", text, lambda: stored(list(slots)))
