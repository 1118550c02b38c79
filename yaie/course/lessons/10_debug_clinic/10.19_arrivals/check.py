from __future__ import annotations

from .. import clinic
from ..common import are_ints, expose, steps_of, valid


def check() -> None:
    case = clinic.arrivals()
    ok = isinstance(case, list | tuple) and 1 <= len(case) <= 4
    ok = ok and all(isinstance(r, list | tuple) and len(r) == 2 and are_ints(r, 0, 40) for r in case)
    valid(ok and all(r[0] <= 8 and r[1] >= 1 for r in case), case, "1 to 4 pairs (step 0 to 8, tokens 1 to 40)")

    def starved() -> list[str]:
        return [f"step {i}: {who}" for i, step in enumerate(steps_of(case)) for who, n in step.items() if n == 0]

    expose("10.20", "Scheduler.schedule", f"arrivals() == {list(case)}; decodes without a token", starved)
