"""What the checks of lesson 01 share."""

from __future__ import annotations

from yaie.course.expect import expect
from yaie.engine import prefix_cache


def integrity(cache: prefix_cache.PrefixCache) -> None:
    """Turn what `check_integrity` finds into a failed expectation."""
    try:
        cache.check_integrity()
        complaint = "nothing"
    except AssertionError as error:
        complaint = str(error)
    expect(complaint, "nothing", "what check_integrity() complains of afterwards")
