"""What the engine did, step by step: recorded as plain data, for timelines and for the accounts of pages."""

from __future__ import annotations

from typing import NamedTuple

from yaie.engine.pages import PageCounts


class StepRecord(NamedTuple):
    """One step."""

    step: int  # its number, from 0
    # What happened to each unfinished request: (kind, number of tokens computed). The kind is "prefill", "decode",
    # "waiting" (not begun, or begun and without a part in this step) or "preempted" (waiting to go on).
    work: dict[str, tuple[str, int]]
    finished: dict[str, str]  # requests that ended in this step, with their finish reason
    pages: PageCounts  # after the step
