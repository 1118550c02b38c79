from __future__ import annotations

import asyncio
from functools import partial

from yaie.course.expect import expect, expect_error, given
from yaie.server.engine_thread import Busy, EngineThread

# limit; the orders, one after the other: how many answers, and an error, or None; "end": the oldest answer ends
CASES: tuple[tuple[int, list[tuple[int, type[Exception] | None] | str]], ...] = (
    (1, [(1, None)]),
    (4, [(2, None), (1, None)]),
    (4, [(4, None), (1, Busy)]),
    (4, [(5, ValueError)]),
    (4, [(3, None), (2, Busy), (1, None), (1, Busy)]),
    (4, [(3, None), (5, ValueError), (1, None)]),
    (3, [(2, None), "end", (2, None), (1, Busy), "end", (1, None)]),
    (2, [(1, None), "end", (1, None), (1, None), (2, Busy), (3, ValueError)]),
)


def check() -> None:
    for limit, orders in CASES:
        thread, used, done = EngineThread(None, limit), set(), []
        for order in orders:
            if order == "end":
                del thread._open[next(iter(thread._open))]
                done.append("the oldest answer ends")
                continue
            number, error = order
            chunks, before = asyncio.Queue(), dict(thread._open)
            call = f"_admit({number}, chunks)"
            with given("; ".join([f"the limit is {limit}", *done, call])):
                if error:
                    expect_error(partial(thread._admit, number, chunks), error, "error")
                    expect(sorted(thread._open), sorted(before), "ids that are open after an order was refused")
                else:
                    ids = thread._admit(number, chunks)
                    expect(len(ids), number, "number of ids")
                    expect([type(id) for id in ids], [str] * number, "types of the ids")
                    expect(len(set(ids) - used), number, "number of ids that were never used before")
                    expect(sorted(thread._open), sorted([*before, *ids]), "ids that are open")
                    owned = [id for id, queue in thread._open.items() if queue is chunks]
                    expect(sorted(owned), sorted(ids), "ids whose chunks go into `chunks`")
                    used |= set(ids)
            done.append(call + (f" raises {error.__name__}" if error else ""))
