from __future__ import annotations

from yaie.course.expect import expect, expect_error, given
from yaie.server.router import Choice, Router

# of each replica: tokens of the prompt that it has, open requests, requests so far; then what is chosen
CASES: tuple[tuple[list[tuple[int, int, int]], Choice], ...] = (
    ([(0, 0, 0)], Choice("a", 0)),
    ([(0, 0, 0), (4, 0, 0)], Choice("b", 4)),
    ([(8, 0, 0), (4, 0, 0)], Choice("a", 8)),
    ([(0, 0, 0), (4, 1, 1)], Choice("b", 4)),
    ([(0, 1, 1), (0, 0, 1)], Choice("b", 0)),
    ([(0, 0, 1), (0, 0, 0)], Choice("b", 0)),
    ([(0, 0, 2), (0, 0, 1), (0, 0, 1)], Choice("b", 0)),
    ([(0, 0, 5), (0, 1, 1)], Choice("a", 0)),
    ([(8, 2, 2), (4, 0, 0), (0, 0, 0)], Choice("b", 4, overloaded=True)),
    ([(8, 1, 1), (4, 0, 0), (0, 0, 0)], Choice("a", 8)),
    ([(8, 5, 5), (4, 5, 5), (0, 4, 4)], Choice("a", 8)),
    ([(8, 3, 3), (8, 1, 9), (0, 0, 0)], Choice("b", 8)),
    ([(0, 3, 3), (4, 0, 0)], Choice("b", 4)),
    ([(4, 3, 3), (4, 0, 0)], Choice("b", 4)),
    ([(8, 7, 7), (4, 6, 6), (0, 4, 4)], Choice("c", 0, overloaded=True)),
)
PROMPT = list(range(100, 109))


def router(states: list[tuple[int, int, int]], num_pages: int = 8) -> Router:
    made = Router(page_size=4, num_pages=num_pages, max_lead=2)
    for name, (has, open_, sent) in zip("abc", states, strict=False):
        made.add(name)
        if has:
            made.sent(name, PROMPT[:has])
        made.replicas[name].open, made.replicas[name].sent = open_, sent
    return made


def check() -> None:
    for states, wanted in CASES:
        told = "; ".join(
            f"{name} has {has} of its 9 tokens, {open_} open, {sent} so far"
            for name, (has, open_, sent) in zip("abc", states, strict=False)
        )
        with given(f"max_lead is 2; {told}: choose(tokens)"):
            made = router(states)
            expect(made.choose(PROMPT), wanted, "choice")
            counts = [(known.open, known.sent) for known in made.replicas.values()]
            expect(counts, [(open_, sent) for _, open_, sent in states], "open and sent of the replicas afterwards")
    with given("no replica: choose(tokens)"):
        expect_error(lambda: router([]).choose(PROMPT), LookupError, "error")
    with given(
        "a's cache has room for two pages, and has the prompts [0..3] and [10..13]: choose([0..3]), then a third one"
    ):
        made = router([(0, 0, 0)], num_pages=2)
        for start in (0, 10):
            made.sent("a", range(start, start + 4))
        made.choose(list(range(4)))
        made.sent("a", range(20, 24))
        found = [made.replicas["a"].cache.find(list(range(start, start + 4))).length for start in (0, 10, 20)]
        expect(found, [0, 4, 4], "tokens that are found of the three prompts")
