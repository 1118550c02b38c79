"""What the engine did, step by step: recorded as plain data, for timelines and for the accounts of pages."""

from __future__ import annotations

from collections.abc import Sequence
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


def timeline_rows(records: Sequence[StepRecord]) -> list[tuple[str, int, int, str, str]]:
    """Bars for `yaie.plots.timeline`: (request, first step, one past the last, kind, label).

    Equal steps in a row are one bar, except that each chunk of a prompt is a bar of its own, labelled with its tokens.
    """
    rows: list[tuple[str, int, int, str, str]] = []
    last: dict[str, int] = {}  # request -> its newest row
    for record in records:
        for request_id, (kind, num_tokens) in record.work.items():
            at = last.get(request_id)
            if at is not None and kind != "prefill" and rows[at][2:4] == (record.step, kind):
                rows[at] = (*rows[at][:2], record.step + 1, *rows[at][3:])
                continue
            last[request_id] = len(rows)
            label = str(num_tokens) if kind == "prefill" else ""
            rows.append((request_id, record.step, record.step + 1, kind, label))
    return rows
