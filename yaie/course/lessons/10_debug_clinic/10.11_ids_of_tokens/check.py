from __future__ import annotations

from .. import clinic
from ..common import are_ints, embedded, expose, valid


def check() -> None:
    ids = clinic.ids_of_tokens()
    ok = isinstance(ids, list | tuple) and 1 <= len(ids) <= 4 and are_ints(ids, -4, 9)
    valid(ok, ids, "1 to 4 ints from -4 to 9")
    expose("10.12", "embedding_kernel", f"ids_of_tokens() == {list(ids)}", lambda: embedded(list(ids)))
