from __future__ import annotations

from yaie.course.expect import expect, given


def check() -> None:
    # TODO: call the engine on every edge that the statement names, then on random input against an oracle
    with given("the input, as it would be typed"):
        expect(0, 1, "what is compared")
