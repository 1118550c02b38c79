from __future__ import annotations

from yaie.kernels.kv_cache import OutOfBlocksError

from .. import clinic
from ..common import expose, is_event, pool_after, valid


def check() -> None:
    events = clinic.comings_and_goings()
    ok = isinstance(events, list | tuple) and 1 <= len(events) <= 8 and all(is_event(event) for event in events)
    wanted = '1 to 8 tuples ("new", name, tokens), ("fork", name, new name) or ("end", name)'
    valid(ok, events, wanted)
    try:
        pool_after(events)
    except (ValueError, KeyError, OutOfBlocksError) as error:
        valid(False, events, f"what a pool of 8 blocks can do: {error}")
    expose("10.8", "_drop_references", f"comings_and_goings() == {events}", lambda: pool_after(events))
