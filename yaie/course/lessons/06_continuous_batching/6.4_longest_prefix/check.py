from __future__ import annotations

import random
from collections.abc import Sequence

from yaie.course.expect import expect, given
from yaie.engine import scheduler as engine
from yaie.engine.request import Request
from yaie.kernels import radix_tree

from ..common import make, make_request, names

CACHED = list(range(1, 13))  # in three pages of 4


def check() -> None:
    _check_order([0, 8], "r1 r0", "r1 finds more")
    _check_order([8, 4, 0], "r0 r1 r2", "r0 finds most")
    _check_order([0, 0, 0], "r0 r1 r2", "nobody finds anything")
    _check_order([4, 8, 8, 4], "r1 r2 r0 r3", "two and two find the same")
    _check_order([4] * 11, " ".join(f"r{n}" for n in range(11)), "all find the same")
    _check_order([0, 4, 8, 0], "r3 r2 r1 r0", "max_overtaken is 3", overtaken=[2, 0, 0, 3])
    _check_order([0, 8], "r0 r1", "max_overtaken is 3", overtaken=[4, 0])
    _check_order([0, 8, 4], "r0 r1 r2", "max_overtaken is 3", overtaken=[3, 5, 9])
    _check_last_token()
    _check_tokens_and_not_shares()
    _check_another_limit()
    _check_that_it_only_looks()
    rng = random.Random(6)
    for _ in range(20):
        found = [rng.choice((0, 4, 8, 12)) for _ in range(6)]
        overtaken = [rng.choice((0, 0, 1, 2, 3, 4)) for _ in found]
        late = [n for n in range(6) if overtaken[n] >= 3]
        rest = sorted((n for n in range(6) if overtaken[n] < 3), key=lambda n: (-found[n], n))
        wanted = " ".join(f"r{n}" for n in late + rest)
        _check_order(found, wanted, "max_overtaken is 3", overtaken=overtaken)


def _line(max_overtaken: int = 3) -> engine.Scheduler:
    line = make(32, prefix_cache=True, policy="longest_prefix")
    line.max_overtaken = max_overtaken
    line.pages.cache.insert(CACHED, [0, 1, 2])
    return line


def _waiting(line: engine.Scheduler, found: list[int], overtaken: Sequence[int]) -> list[Request]:
    """A request for each number of tokens that it finds in the cache."""
    for number, length in enumerate(found):
        request = make_request(number, [*CACHED[:length], 500 + number])
        request.num_overtaken = overtaken[number] if overtaken else 0
        line.add(request)
    return list(line.waiting)


def _sorted(line: engine.Scheduler, requests: list[Request]) -> str:
    """They are sorted from the last on, so that equal keys show: sorting leaves them in their order."""
    last_first = requests[::-1]
    return " ".join(names(sorted(last_first, key=lambda request: engine.longest_prefix(line, request))))


def _check_order(found: list[int], wanted: str, why: str, overtaken: Sequence[int] = ()) -> None:
    line = _line()
    requests = _waiting(line, found, overtaken)
    counts = f", they were overtaken {overtaken} times" if overtaken else ""
    with given(f"requests that find {found} tokens in the cache{counts}; {why}"):
        expect(_sorted(line, requests), wanted, "order of the keys, the smallest first")


def _check_last_token() -> None:
    line = _line()
    line.add(make_request(0, CACHED[:6]))
    line.add(make_request(1, CACHED[:8]))
    with given("the cache holds the tokens 1 to 12 in pages of 4; r0 has the tokens 1 to 6, r1 has 1 to 8"):
        expect(
            _sorted(line, list(line.waiting)), "r0 r1", "order of the keys (both find one page and compute the rest)"
        )


def _check_tokens_and_not_shares() -> None:
    line = _line()
    line.add(make_request(0, [*CACHED[:4], 500]))
    line.add(make_request(1, [*CACHED[:8], *range(500, 530)]))
    with given("r0 has 5 tokens and finds 4 of them, r1 has 38 and finds 8"):
        expect(_sorted(line, list(line.waiting)), "r1 r0", "order of the keys, the smallest first")
    line = _line()
    line.add(make_request(0, list(range(500, 530))))
    line.add(make_request(1, [*CACHED[:4], *range(600, 620)]))
    line.add(make_request(2, [700]))
    with given("r0 has 30 tokens and finds none of them, r1 has 24 and finds 4, r2 has one and finds nothing"):
        expect(_sorted(line, list(line.waiting)), "r1 r0 r2", "order of the keys, the smallest first")


def _check_another_limit() -> None:
    line = _line(max_overtaken=1)
    requests = _waiting(line, [8, 0, 0], [0, 0, 1])
    with given(
        "requests that find [8, 0, 0] tokens in the cache, they were overtaken [0, 0, 1] times; max_overtaken is 1"
    ):
        expect(_sorted(line, requests), "r2 r0 r1", "order of the keys, the smallest first")


def _check_that_it_only_looks() -> None:
    line = _line()
    request = make_request(0, [*CACHED[:8], 500])

    def spans() -> list[tuple[list[int], int, int]]:
        nodes = radix_tree.iter_nodes(line.pages.cache.root)
        return [(node.edge.tolist(), node.payload.hits, node.payload.last_used) for node in nodes]

    before = spans()
    with given("the key of a request that finds 8 of 12 cached tokens"):
        engine.longest_prefix(line, request)
        expect(spans(), before, "(edge, hits, last used) of each node of the cache afterwards")
        expect(request.num_overtaken, 0, "request.num_overtaken afterwards")
