"""Lesson 06: continuous batching, from a chunk of a prompt to preemption."""

from __future__ import annotations

from collections import deque
from typing import Any

from yaie.course.expect import expect, given
from yaie.course.registry import Lesson, Mutant
from yaie.engine import scheduler
from yaie.engine.output import TextStream
from yaie.engine.pages import Pages
from yaie.engine.request import Request, Status
from yaie.engine.sampling_params import SamplingParams
from yaie.kernels.kv_cache import KVCacheManager

LESSON = Lesson(6, "continuous_batching", "Continuous batching", minutes=80)


def make(num_blocks: int, *, prefix_cache: bool = False, block_size: int = 4, **options) -> scheduler.Scheduler:
    """A scheduler over an empty pool of one head with one number per token; no model is needed."""
    pages = Pages(KVCacheManager(num_blocks, block_size, 1, 1), prefix_cache=prefix_cache)
    return scheduler.Scheduler(pages, **options)


def make_request(arrival: int, prompt: int | list[int], num_generated: int = 0) -> Request:
    """Request "r<arrival>"; its prompt is given, or only the length of one that shares nothing with others."""
    if isinstance(prompt, int):
        prompt = [100 * (arrival + 1) + place for place in range(prompt)]
    tokens = [*prompt, *range(5000, 5000 + num_generated)]
    return Request(f"r{arrival}", tokens, len(prompt), SamplingParams(), arrival, 99, TextStream(None))


def let_run(line: scheduler.Scheduler, request: Request, num_computed: int) -> None:
    """Make a request run, by hand: pages for all of its tokens, and so many of them computed."""
    line.pages.admit(request)
    line.running.append(request)
    request.status = Status.RUNNING
    request.num_computed_tokens = num_computed


def names(value: Any) -> Any:
    """Requests by their names; whatever else it is as it is."""
    if isinstance(value, Request):
        return value.request_id
    return [names(item) for item in value] if isinstance(value, list | tuple | deque) else value


@LESSON.exercise(
    "6.1",
    title="Cut a chunk of a prompt",
    target="yaie.engine.scheduler:Scheduler.chunk_size",
    minutes=10,
    task="Say how many tokens of a request this step computes, with `budget` tokens left. All that are missing, if "
    "they fit. Else cut, so that computed tokens and chunk together end at a page: with pages of 16, 40 tokens done, "
    "100 to go and a budget of 30, that is 24 (40 + 24 = 64). If no page ends within the budget, use all of it.",
    hints=(
        "Three cases: all of it fits; the chunk can end where a page ends; no page ends within the budget.",
        "With the whole budget the chunk would end at `request.num_computed_tokens + budget`. The remainder of that "
        "position after division by the page size is what must go.",
        "if request.num_uncomputed_tokens <= budget: return it; end = request.num_computed_tokens + budget; aligned = "
        "end - end % self.pages.block_size; return budget if aligned <= request.num_computed_tokens else aligned - "
        "request.num_computed_tokens.",
    ),
    mutants=(
        Mutant(
            "if request.num_uncomputed_tokens <= budget:",
            "if request.num_uncomputed_tokens < budget:",
            "What fits into the budget exactly need not be cut.",
        ),
        Mutant(
            "if request.num_uncomputed_tokens <= budget:",
            "if True:",
            "The chunk is larger than the budget. A long prompt is cut, so that the step stays short.",
        ),
        Mutant(
            "end - end % self.pages.block_size",
            "end",
            "The chunk fills the budget and ends inside a page. Shorten it to the end of the page before.",
        ),
        Mutant(
            "end - end % self.pages.block_size",
            "end - budget % self.pages.block_size",
            "The chunk is a whole number of pages long. What must be a multiple of the page is the position where it "
            "ends: `num_computed_tokens` plus the chunk.",
        ),
        Mutant(
            "        return budget\n",
            "        return 0\n",
            "No page ends within the budget, and nothing is computed. With a small budget in every step this prompt "
            "would never get on.",
        ),
        Mutant(
            "return aligned_end - request.num_computed_tokens",
            "return aligned_end",
            "This is the position where the chunk ends. Asked for is the number of tokens from `num_computed_tokens` "
            "to there.",
        ),
    ),
)
def check_chunk_size() -> None:
    cases = [(4, 0, 3, 8), (4, 0, 8, 8), (4, 0, 7, 7), (4, 0, 9, 8), (4, 0, 20, 6), (4, 4, 20, 6), (4, 2, 20, 5)]
    cases += [(4, 0, 20, 3), (4, 4, 20, 0), (4, 5, 20, 2), (16, 40, 100, 30), (16, 40, 100, 5), (1, 3, 9, 5)]
    cases += [(4, 6, 1, 1), (4, 6, 1, 5), (16, 17, 33, 15), (16, 15, 40, 1), (16, 15, 40, 17), (3, 7, 50, 31)]
    for size, num_computed, to_go, budget in cases:
        line = make(16, block_size=size)
        request = make_request(0, num_computed + to_go)
        request.num_computed_tokens = num_computed
        text = f"pages of {size}; {num_computed} tokens computed, {to_go} to go; chunk_size(request, {budget})"
        with given(text):
            at_pages = [c for c in range(1, budget + 1) if (num_computed + c) % size == 0]
            expected = to_go if to_go <= budget else max(at_pages, default=budget)
            expect(line.chunk_size(request, budget), expected, "number of tokens")


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


@LESSON.exercise(
    "6.2",
    title="Admit under two budgets",
    target="yaie.engine.scheduler:Scheduler.admit",
    minutes=20,
    requires=("6.1",),
    task="Go through the waiting requests in the order of the policy and start as many as the budgets of tokens and "
    "pages allow. With prompts of 6, 6 and 6 tokens, pages enough and a budget of 12, the first two start and the "
    "budget is used up. Stop at the first for which there are no pages.",
    hints=(
        "One loop over the candidates. Two reasons end it before the next candidate is looked at, one passes over a "
        "candidate, one ends it because the pages are gone.",
        "`self.pages.admit(...)` takes the pages and answers with True or False, so call it once and last. "
        "`self.start(request)` does the rest. The request costs `self.chunk_size(request, budget)` tokens.",
        "for request in self.admission_order(): break if budget == 0 or len(self.running) == self.max_num_seqs; "
        "continue if self.is_being_computed(request); break if not self.pages.admit(request, "
        "num_spare=len(self.running)); self.start(request); append it to the result; take its chunk off the budget.",
    ),
    mutants=(
        Mutant(
            "if budget == 0 or len(self.running)",
            "if len(self.running)",
            "The token budget is used up, and requests are admitted still. They would hold pages and do nothing.",
        ),
        Mutant(
            "if budget == 0 or len(self.running) == self.max_num_seqs:",
            "if budget == 0:",
            "More than `max_num_seqs` requests run.",
        ),
        Mutant(
            "        self.start(request)\n",
            "",
            "The request has pages, but it still waits: `self.start(request)` moves it.",
        ),
        Mutant("budget -= self.chunk_size(request, budget)", "budget -= 1", "The budget counts tokens, not requests."),
        Mutant(
            "budget -= self.chunk_size(request, budget)",
            "budget -= min(budget, request.num_tokens)",
            "A request was charged for more tokens than this step computes. Tokens found in the prefix cache cost "
            "nothing, and a chunk may be shorter than the prompt: `chunk_size` says what it costs.",
        ),
        Mutant(
            "num_spare=len(self.running)):\n            break",
            "num_spare=len(self.running)):\n            continue",
            "There were no pages for one request, and a smaller one behind it was admitted. If that goes on, the large "
            "one never gets its turn.",
        ),
        Mutant(
            "if not self.pages.admit(request, num_spare=len(self.running)):",
            "if not self.pages.admit(request):",
            "The pool was filled to the last page. Ask for one spare page per running request.",
        ),
        Mutant(
            "        if self.is_being_computed(request):\n            continue\n",
            "",
            "A request began to compute a prefix that another request is computing just now.",
        ),
        Mutant(
            "        if self.is_being_computed(request):\n            continue\n",
            "        if self.is_being_computed(request):\n            break\n",
            "A request that waits for another's prefix is passed over; those behind it need not wait for it.",
        ),
        Mutant(
            "for request in self.admission_order():",
            "for request in list(self.waiting):",
            "The candidates were taken in the order of arrival. The policy decides: `self.admission_order()`.",
        ),
    ),
)
def check_admit() -> None:
    _expect_admitted(_line(16, [6]), 16, ["r0"], "one prompt of 6 tokens; 16 pages of 4")
    _expect_admitted(_line(16, [6]), 0, [], "one prompt of 6 tokens; 16 pages of 4")
    prompts = "prompts of 6, 6 and 6 tokens; 16 pages of 4"
    _expect_admitted(_line(16, [6, 6, 6]), 12, ["r0", "r1"], prompts)
    _expect_admitted(_line(16, [6, 6, 6]), 16, ["r0", "r1", "r2"], prompts)
    _expect_admitted(_line(16, [20, 3]), 15, ["r0", "r1"], "prompts of 20 and 3 tokens; 16 pages of 4")
    line = _line(16, [2, 2, 2, 2], running=1, max_num_seqs=3)
    _expect_admitted(line, 16, ["r1", "r2"], "max_num_seqs=3, r0 runs, r1 to r3 wait with 2 tokens each")
    _expect_admitted(_line(10, [8, 36, 4]), 64, ["r0"], "prompts of 8, 36 and 4 tokens; 10 pages of 4")
    _expect_admitted(_line(4, [8, 8]), 64, ["r0"], "prompts of 8 and 8 tokens; 4 pages of 4")
    _expect_admitted(_line(5, [8, 8]), 64, ["r0", "r1"], "prompts of 8 and 8 tokens; 5 pages of 4")
    line = _line(7, [8, 4, 8], running=2)
    _expect_admitted(line, 64, ["r2"], "7 pages of 4; r0 (8 tokens) and r1 (4) run, r2 (8) waits")
    line = _line(6, [8, 4, 8], running=2)
    _expect_admitted(line, 64, [], "6 pages of 4; r0 (8 tokens) and r1 (4) run, r2 (8) waits")
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
    request.num_computed_tokens = request.num_tokens
    line.pages.give_back(request)


@LESSON.exercise(
    "6.3",
    title="Preempt the youngest",
    target="yaie.engine.scheduler:Scheduler.preempt",
    minutes=15,
    task="Take the running request with the largest `arrival`, give its pages back, and put it where it belongs in the "
    "line of those who wait. If r0, r3 and r2 run, and r1 and r5 wait, r3 is preempted, and r1, r3 and r5 wait. It "
    "keeps the tokens that it has generated.",
    hints=(
        "The docstring names five things to do after the victim is chosen. Do one per line.",
        '`max(..., key=attrgetter("arrival"))` finds the victim. `insort(self.waiting, victim, '
        'key=attrgetter("arrival"))` puts it into a line that is sorted by the same key.',
        "victim = max(...); self.running.remove(victim); self.pages.give_back(victim); victim.status = "
        "Status.WAITING; victim.num_preemptions += 1; insort(...); self.preempted.append(victim); return victim.",
    ),
    mutants=(
        Mutant(
            'max(self.running, key=attrgetter("arrival"))',
            "self.running[-1]",
            "The request that was admitted last is not always the youngest: a policy may have let it overtake. The "
            "youngest has the largest `arrival`.",
        ),
        Mutant(
            'max(self.running, key=attrgetter("arrival"))',
            'min(self.running, key=attrgetter("arrival"))',
            "The oldest was preempted. It has lost the most, and nobody is sure to get on.",
        ),
        Mutant("    self.running.remove(victim)\n", "", "The request waits and is still among those who run."),
        Mutant(
            "    self.pages.give_back(victim)\n",
            "",
            "The pages were not given back, and they were the reason to preempt somebody.",
        ),
        Mutant(
            "self.pages.give_back(victim)",
            "self.pages.give_back(victim, keep=False)",
            "What the request had computed is lost. `give_back` without `keep=False` leaves whole pages in the prefix "
            "cache, where they can be found again.",
        ),
        Mutant("    victim.status = Status.WAITING\n", "", "The status of the request says that it runs."),
        Mutant(
            "    victim.status = Status.WAITING\n",
            "    victim.status = Status.WAITING\n    del victim.token_ids[victim.num_prompt_tokens :]\n",
            "The tokens that the request had generated are gone. Its reader has seen them already.",
        ),
        Mutant(
            'insort(self.waiting, victim, key=attrgetter("arrival"))',
            "self.waiting.append(victim)",
            "The request went to the end of the line, behind those who came after it.",
        ),
        Mutant(
            'insort(self.waiting, victim, key=attrgetter("arrival"))',
            "self.waiting.appendleft(victim)",
            "The request went to the front of the line, before those who came earlier. The line is in the order of "
            "arrival.",
        ),
        Mutant(
            "    self.preempted.append(victim)\n",
            "",
            "`schedule` looks into `self.preempted`: who is not noted there could be admitted again in the same step.",
        ),
        Mutant("    victim.num_preemptions += 1\n", "", "The preemption was not counted in `num_preemptions`."),
    ),
)
def check_preempt() -> None:
    _check_preempt([0], [], "r0")
    _check_preempt([0, 1], [], "r1")
    _check_preempt([0, 3, 2], [], "r3")
    _check_preempt([0, 1], [4, 5], "r1")
    _check_preempt([0, 3, 2], [1, 5], "r3")
    _check_preempt([4, 2, 3], [0, 1], "r4")
    _check_preempt([0, 2, 1], [3], "r2", prefix_cache=True)
    line = make(32)
    for arrival in range(3):
        let_run(line, make_request(arrival, 5), 4)
    with given("preempt() twice; r0, r1 and r2 run"):
        expect(names([line.preempt(), line.preempt()]), ["r2", "r1"], "the two results")
        expect(names(line.preempted), ["r2", "r1"], "`preempted` afterwards")
        expect(names(line.waiting), ["r1", "r2"], "`waiting` afterwards")
        expect(names(line.running), ["r0"], "`running` afterwards")


def _check_preempt(running: list[int], waiting: list[int], victim: str, prefix_cache: bool = False) -> None:
    """Every running request has 6 tokens of prompt and 3 generated, 8 of the 9 computed, in 3 pages of 4."""
    line = make(32, prefix_cache=prefix_cache)
    for arrival in running:
        let_run(line, make_request(arrival, 6, num_generated=3), 8)
    for arrival in waiting:
        line.add(make_request(arrival, 6))
    tokens = {request.request_id: list(request.token_ids) for request in line.running}
    stay = [name for name in names(line.running) if name != victim]
    cache = " with the prefix cache" if prefix_cache else ""
    with given(f"preempt(){cache}; running: {names(line.running)}, waiting: {names(line.waiting)}"):
        request = line.preempt()
        expect(names(request), victim, "request (the result)")
        expect(names(line.running), stay, "`running` afterwards")
        expect(names(line.waiting), [f"r{n}" for n in sorted([*waiting, int(victim[1:])])], "`waiting` afterwards")
        expect(sorted(line.pages.kv.block_tables), sorted(stay), "requests with pages afterwards")
        found = line.pages.cache.evictable_size if prefix_cache else 0
        expect(found, 8 if prefix_cache else 0, "computed tokens of the victim that the cache keeps")
        expect(line.pages.kv.num_free_blocks, 32 - 3 * len(stay) - found // 4, "free pages afterwards")
        expect(request.status.value, "waiting", "status of the victim")
        expect(request.num_computed_tokens, 0, "num_computed_tokens of the victim")
        expect(request.token_ids, tokens[victim], "token_ids of the victim (prompt and generated tokens)")
        expect(request.num_preemptions, 1, "num_preemptions of the victim")
        expect(names(line.preempted), [victim], "`preempted` afterwards")
