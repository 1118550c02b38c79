"""How many replicas a load needs, from what a smaller or a simulated fleet had to do."""

from __future__ import annotations

import math
from collections.abc import Sequence


def replicas_needed(work: Sequence[float], seconds: float, busy: float, growth: float = 1.0, spare: int = 0) -> int:
    """How many replicas keep even the busiest one at work for no more than a share of its time.

    The load is expected to spread over more replicas as it did over those that were watched: with `n` times as many,
    each has an n-th of the work, and the busiest remains as far above the mean.

    Args:
        work: seconds that each replica of the watched fleet computed; those that had nothing to do included.
        seconds: how long it was watched, more than 0.
        busy: the share of its time that the busiest replica may work, more than 0 and at most 1.
        growth: how many times the load that was watched.
        spare: so many replicas may fail at a time, and the others still keep to `busy`.

    Returns:
        A whole number, at least one replica besides the spare ones.
    """
    needed = math.ceil(len(work) * growth * max(work) / seconds / busy)
    return max(1, needed) + spare
