from __future__ import annotations

from yaie.course.expect import expect, given
from yaie.engine import scheduler

from ..common import let_run, make, make_request, names, set_computed


def _expect_admitted(line: scheduler.Scheduler, budget: int, expected: list[str], situation: str) -> None:
    """Call `admit(budget)` and compare the result and the lists of the scheduler with what they must be."""
    running = [*names(line.running), *expected]
    waiting = [name for name in names(line.waiting) if name not in expected]
    with given(f"admit({budget}): {situation}"):
        expect(names(line.admit(budget)), expected, "list of admitted requests (the result)")
        expect(names(line.running), running, "`running` afterwards")
        expect(names(line.waiting), waiting, "`waiting` afterwards")
        expect(sorted(line.pages.kv.block_tables), sorted(running), "requests with pages afterwards")


def _line(num_blocks: int, prompts: list[int | list[int]], running: int = 0, **options) -> scheduler.Scheduler:
    """A scheduler with these prompts; the first `running` of them run and are computed but for the last token."""
    line = make(num_blocks, **options)
    for arrival, prompt in enumerate(prompts):
        request = make_request(arrival, prompt)
        if arrival < running:
            let_run(line, request, request.num_tokens - 1)
        else:
            line.add(request)
    return line


def check() -> None:
    _expect_admitted(_line(16, [6]), 16, ["r0"], "one prompt of 6 tokens; 16 pages of 4")
    _expect_admitted(_line(16, [6]), 0, [], "one prompt of 6 tokens; 16 pages of 4")
    prompts = "prompts of 6, 6 and 6 tokens; 16 pages of 4"
    _expect_admitted(_line(16, [6, 6, 6]), 12, ["r0", "r1"], prompts)
    _expect_admitted(_line(16, [6, 6, 6]), 16, ["r0", "r1", "r2"], prompts)
    _expect_admitted(_line(16, [6, 6, 6]), 1, ["r0"], prompts)
    _expect_admitted(_line(16, [6, 6, 6]), 7, ["r0", "r1"], prompts)
    _expect_admitted(_line(3, [4, 4, 40]), 64, ["r0", "r1"], "prompts of 4, 4 and 40 tokens; 3 pages of 4")
    _expect_admitted(_line(16, [20, 3]), 15, ["r0", "r1"], "prompts of 20 and 3 tokens; 16 pages of 4")
    line = _line(16, [2, 2, 2, 2], running=1, max_num_seqs=3)
    _expect_admitted(line, 16, ["r1", "r2"], "max_num_seqs=3, r0 runs, r1 to r3 wait with 2 tokens each")
    _expect_admitted(_line(10, [8, 36, 4]), 64, ["r0"], "prompts of 8, 36 and 4 tokens; 10 pages of 4")
    line = _line(5, [8, 4, 8], running=2)
    _expect_admitted(line, 64, [], "5 pages of 4; r0 (8 tokens) and r1 (4) run, r2 (8) waits")
    line = _line(6, [8, 4, 8], running=2)
    _expect_admitted(line, 64, [], "6 pages of 4; r0 (8 tokens) and r1 (4) run, r2 (8) waits")
    _expect_admitted(_line(4, [8, 8]), 64, ["r0"], "prompts of 8 and 8 tokens; 4 pages of 4")
    _expect_admitted(_line(5, [8, 8]), 64, ["r0", "r1"], "prompts of 8 and 8 tokens; 5 pages of 4")
    line = _line(7, [8, 4, 8], running=2)
    _expect_admitted(line, 64, ["r2"], "7 pages of 4; r0 (8 tokens) and r1 (4) run, r2 (8) waits")
    same = list(range(1, 13))
    line = _line(32, [[*same, 50], [*same, 60], 3], prefix_cache=True)
    _expect_admitted(line, 64, ["r0", "r2"], "r0 and r1 begin with the same 12 tokens, r2 (3 tokens) does not")
    line = _line(32, [3, [*same, 70]], prefix_cache=True, policy="longest_prefix")
    _compute_and_end(line, same)
    _expect_admitted(line, 4, ["r1", "r0"], 'policy "longest_prefix"; r0 has 3 tokens, r1 has 13, 12 of them cached')


def _compute_and_end(line: scheduler.Scheduler, tokens: list[int]) -> None:
    """Leave these tokens in the prefix cache, as a request that ended does."""
    request = make_request(99, tokens)
    line.pages.admit(request)
    set_computed(request, request.num_tokens)
    line.pages.give_back(request)
