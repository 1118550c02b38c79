from __future__ import annotations

from collections import deque

from yaie.course.expect import expect, given
from yaie.engine.request import Request

from ..common import let_run, make, make_request, names


def check() -> None:
    _check_preempt([0], [], "r0")
    _check_preempt([1, 3, 0, 2], [], "r3")
    _check_preempt([0, 1], [], "r1")
    _check_preempt([0, 3, 2], [], "r3")
    _check_preempt([0, 1], [4, 5], "r1")
    _check_preempt([0, 3, 2], [1, 5], "r3")
    _check_preempt([4, 2, 3], [0, 1], "r4")
    _check_preempt([0, 2, 1], [3], "r2", prefix_cache=True)
    _check_preempt([9, 10], [], "r10")
    _check_preempt([1, 9], [10, 11], "r9")
    _check_who_is_young()
    line = make(32)
    for arrival in range(3):
        let_run(line, make_request(arrival, 5), 4)
    with given("preempt() twice; r0, r1 and r2 run"):
        expect(names([line.preempt(), line.preempt()]), ["r2", "r1"], "the two results")
        expect(names(line.preempted), ["r2", "r1"], "`preempted` afterwards")
        expect(names(line.waiting), ["r1", "r2"], "`waiting` afterwards")
        expect(names(line.running), ["r0"], "`running` afterwards")


def _check_who_is_young() -> None:
    """The first, the longest and the one that was preempted most are three others."""
    line = make(32)
    for arrival, (num_tokens, num_preemptions) in enumerate(((5, 0), (9, 0), (5, 2), (5, 0))):
        let_run(line, make_request(arrival, num_tokens), num_tokens - 1)
        line.running[-1].num_preemptions = num_preemptions
    with given("preempt(); r0 to r3 run, r1 has most tokens, r2 was preempted twice before"):
        expect(names(line.preempt()), "r3", "request (the result)")


def _check_preempt(running: list[int], waiting: list[int], victim: str, prefix_cache: bool = False) -> None:
    """Every running request has 6 tokens of prompt and 3 generated, 8 of the 9 computed, in 3 pages of 4."""
    line = make(32, prefix_cache=prefix_cache)
    for arrival in running:
        let_run(line, make_request(arrival, 6, num_generated=3), 8)
    for request in line.running:
        request.num_preemptions = 2
    for arrival in waiting:
        line.add(make_request(arrival, 6))
    tokens = {request.request_id: request.token_ids.tolist() for request in line.running}
    stay = [name for name in names(line.running) if name != victim]
    cache = " with the prefix cache" if prefix_cache else ""
    with given(f"preempt(){cache}; running: {names(line.running)}, waiting: {names(line.waiting)}"):
        request = line.preempt()
        expect(names(request), victim, "request (the result)")
        expect(names(line.running), stay, "`running` afterwards")
        expect(names(line.waiting), [f"r{n}" for n in sorted([*waiting, int(victim[1:])])], "`waiting` afterwards")
        expect(type(line.waiting), deque, "type of `waiting`")
        expect(sorted(line.pages.kv.block_tables), sorted(stay), "requests with pages afterwards")
        found = line.pages.cache.evictable_size if prefix_cache else 0
        expect(found, 2 if prefix_cache else 0, "pages of the victim that the cache keeps (8 computed tokens)")
        expect(line.pages.kv.num_free_blocks, 32 - 3 * len(stay) - found, "free pages afterwards")
        expect(request.status.value, "waiting", "status of the victim")
        expect(request.num_computed_tokens, 0, "num_computed_tokens of the victim")
        expect(request.token_ids, tokens[victim], "token_ids of the victim (prompt and generated tokens)")
        expect(request.num_preemptions, 3, "num_preemptions of the victim, which was preempted twice before,")
        expect(names(line.preempted), [victim], "`preempted` afterwards")
        expect([type(each) for each in line.preempted], [Request], "types in `preempted`")
