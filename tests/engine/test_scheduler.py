"""Who takes part in a step: budgets, chunks, preemption, order, waiting. No model runs here."""

import pytest

from yaie.engine.output import TextStream
from yaie.engine.pages import Pages
from yaie.engine.request import Request, Status
from yaie.engine.sampling_params import SamplingParams
from yaie.engine.scheduler import Scheduler
from yaie.kernels.kv_cache import KVCacheManager


class Line:
    """A scheduler, and steps in which every scheduled token is computed and token 7 comes out."""

    def __init__(self, num_blocks: int = 64, block_size: int = 4, prefix_cache: bool = False, **options) -> None:
        self.pages = Pages(KVCacheManager(num_blocks, block_size, 1, 2), prefix_cache=prefix_cache)
        self.scheduler = Scheduler(self.pages, **{"max_num_batched_tokens": 16, "max_num_seqs": 8, **options})
        self.requests: list[Request] = []

    def add(self, tokens: list[int] | int, **fields) -> Request:
        """A prompt, or the length of one that shares nothing with others."""
        number = len(self.requests)
        if isinstance(tokens, int):
            tokens = [1000 * (number + 1) + place for place in range(tokens)]
        request = Request(f"r{number}", tokens, SamplingParams(), number, 99, TextStream(None))
        for name, value in fields.items():
            setattr(request, name, value)
        self.requests.append(request)
        self.scheduler.add(request)
        return request

    def step(self) -> dict[str, int]:
        """One step; returns how many tokens each request computed."""
        batch = self.scheduler.schedule()
        assert sum(batch.values()) <= self.scheduler.max_num_batched_tokens
        assert all(num_tokens > 0 for num_tokens in batch.values())
        assert set(batch) <= set(self.scheduler.running)
        assert len(self.scheduler.running) <= self.scheduler.max_num_seqs
        self.pages.check_integrity(self.scheduler.running)
        for request, num_tokens in batch.items():
            assert len(self.pages.kv.block_tables[request.request_id]) >= self.pages.kv.blocks_needed(
                request.num_computed_tokens + num_tokens
            )
            self.pages.advance(request, num_tokens)
            if request.num_uncomputed_tokens == 0:
                request.append(7)
        return {request.request_id: num_tokens for request, num_tokens in batch.items()}


# Budgets


def test_a_step_is_filled_with_prompts_up_to_the_token_budget():
    """Would catch a budget that counts requests instead of tokens, or that is exceeded by the last one."""
    line = Line()
    for length in (6, 6, 6):
        line.add(length)
    assert line.step() == {"r0": 6, "r1": 6, "r2": 4}
    assert line.step() == {"r0": 1, "r1": 1, "r2": 2}


def test_no_more_than_max_num_seqs_run():
    """Would catch an off-by-one in the number of running requests."""
    line = Line(max_num_seqs=2)
    for _ in range(3):
        line.add(2)
    assert line.step() == {"r0": 2, "r1": 2}
    line.scheduler.finish(line.requests[0], "stop")
    assert line.step() == {"r1": 1, "r2": 2}


def test_who_does_not_fit_waits_and_nobody_overtakes():
    """Would catch small requests that overtake a large one for ever."""
    line = Line(num_blocks=10)
    line.add(16)
    large, small = line.add(28), line.add(2)
    assert line.step() == {"r0": 16}
    assert line.step() == {"r0": 1}
    assert large.status is small.status is Status.WAITING
    line.scheduler.finish(line.requests[0], "stop")
    assert line.step() == {"r1": 16}


@pytest.mark.parametrize("policy", ["fcfs", "longest_prefix"])
def test_waiting_leaves_no_trace_in_the_cache(policy, dump):
    """Would catch a request that keeps its prefix warm, or splits it, because it asks for pages in every step."""
    line = Line(num_blocks=24, prefix_cache=True, policy=policy)
    first = line.add(list(range(13)))
    line.step()
    line.scheduler.finish(first, "stop")
    line.add(8)
    line.step(), line.step()
    waiting = line.add([*range(6), *range(100, 180)])  # begins inside a cached edge; 22 pages are too many
    before = dump(line.pages.cache)
    for _ in range(50):
        assert line.step() == {"r1": 1}
        assert dump(line.pages.cache) == before
    assert waiting.status is Status.WAITING
    assert waiting.num_computed_tokens == 0


def test_admission_leaves_room_for_those_who_run_to_grow():
    """Would catch an admission that forces a preemption in the next step."""
    line = Line(num_blocks=8)
    line.add(16)
    line.add(16)  # 4 pages each: none would be left for the first to decode
    assert [line.step() for _ in range(3)] == [{"r0": 16}, {"r0": 1}, {"r0": 1}]
    assert line.scheduler.preempted == []


@pytest.mark.parametrize("options", [{"max_num_seqs": 0}, {"max_num_batched_tokens": 4}, {"policy": "random"}])
def test_options_that_could_never_work_are_refused(options):
    """Would catch a budget in which not every running request can decode."""
    with pytest.raises(ValueError, match=next(iter(options))):
        Line(**options)


# Chunks


@pytest.mark.parametrize(
    ("num_computed", "num_tokens", "budget", "expected"),
    [
        (0, 10, 16, 10),
        (0, 16, 16, 16),
        (0, 17, 16, 16),
        (0, 40, 15, 12),  # ends between pages
        (6, 40, 15, 14),  # 6 + 14 = 20
        (6, 40, 3, 2),  # 6 + 2 = 8
        (6, 40, 1, 1),  # no boundary in reach
        (8, 40, 3, 3),
        (39, 40, 1, 1),
        (8, 40, 0, 0),
    ],
)
def test_chunk_size(num_computed, num_tokens, budget, expected):
    """Would catch a chunk over the budget, over the end, inside a page without need, or empty for ever."""
    line = Line()
    request = line.add(num_tokens)
    request.num_computed_tokens = num_computed
    assert line.scheduler.chunk_size(request, budget) == expected


def test_decode_never_starves():
    """Would catch prefill first: while a long prompt is computed, nobody else would get a token."""
    line = Line(num_blocks=400)
    line.add(3)
    line.step()
    line.add(1000)
    line.add(200)
    for _ in range(90):  # 12 tokens of the budget of 16 reach a page's end beside a decode
        done = line.step()
        assert done["r0"] == 1
    assert line.requests[1].num_output_tokens > 0


def test_a_long_prompt_is_computed_in_chunks_and_in_order():
    """Would catch chunks that overlap, leave out tokens, or go to a later prompt first."""
    line = Line()
    long, _ = line.add(40), line.add(3)
    assert [line.step() for _ in range(4)] == [{"r0": 16}, {"r0": 16}, {"r0": 8, "r1": 3}, {"r0": 1, "r1": 1}]
    assert long.num_tokens == 42


# Preemption


def test_the_youngest_is_preempted_and_comes_back_with_what_it_has():
    """Would catch the wrong victim, tokens that are lost, and a return behind those who came later."""
    line = Line(num_blocks=6)
    old, young, late = line.add(8), line.add(7), line.add(5)
    steps = []
    while not line.scheduler.preempted:
        steps.append(line.step())
    assert line.scheduler.preempted == [young]
    assert (young.status, young.num_computed_tokens, young.num_preemptions) == (Status.WAITING, 0, 1)
    assert young.num_output_tokens > 0
    assert list(line.scheduler.waiting) == [young, late]
    while old.status is Status.RUNNING and old.num_tokens < 24:
        line.step()
    assert old.num_preemptions == 0
    line.scheduler.finish(old, "length")
    num_tokens = young.num_tokens
    assert line.step()["r1"] == num_tokens  # prompt and answer, as one prompt
    assert young.num_output_tokens == num_tokens - 7 + 1


def test_a_request_may_preempt_itself():
    """Would catch an endless search for a victim when the one without pages is the youngest."""
    line = Line(num_blocks=6)
    line.add(12)
    line.add(8)
    line.add(1)
    line.scheduler.max_num_seqs = 2
    preempted = []
    for _ in range(6):
        line.step()
        preempted += line.scheduler.preempted
    assert preempted == [line.requests[1]]


def test_nobody_is_admitted_in_a_step_that_preempts():
    """Would catch pages that go from the victim to a newcomer instead of to those who run."""
    line = Line(num_blocks=6)
    line.add(8), line.add(7), line.add(1)
    while not line.scheduler.preempted:
        done = line.step()
    assert set(done) == {"r0"}


def test_nobody_overtakes_a_victim_in_the_step_of_its_preemption(monkeypatch):
    """Would catch a newcomer that gets the pages which the victim has just given back."""
    line = Line(num_blocks=6)
    old, young = line.add(8), line.add(7)
    while old.num_tokens < 13:
        line.step()
    newcomer = line.add(1)
    monkeypatch.setattr(Scheduler, "admission_order", lambda self: [newcomer])
    assert line.step() == {"r0": 1}
    assert line.scheduler.preempted == [young]
    assert newcomer.status is Status.WAITING


def test_a_victim_that_was_scheduled_already_leaves_the_step_and_its_budget():
    """Would catch a batch with a request whose pages are gone, and tokens of the budget that nobody gets."""
    line = Line(num_blocks=18, block_size=1, max_num_batched_tokens=4, max_num_seqs=3)
    _, young = line.add(2), line.add(2)
    assert line.step() == {"r0": 2, "r1": 2}
    line.add(9, arrival=-1)  # the oldest, so that it is no victim
    assert line.step() == line.step() == {"r0": 1, "r1": 1, "r2": 2}
    assert line.pages.kv.num_free_blocks == 1
    line.scheduler.running.reverse()  # as after an admission that was not in the order of arrival
    assert line.step() == {"r0": 1, "r2": 3}
    assert line.scheduler.preempted == [young]


def test_preemption_of_one_that_had_hit_the_cache():
    """Would catch locks that a preempted request keeps, or pages freed that others read."""
    line = Line(num_blocks=9, prefix_cache=True)
    shared = list(range(8))
    line.add([*shared, 100])
    line.step()
    line.add([*shared, 101])
    line.step()
    assert line.requests[1].num_cached_tokens == 8
    for _ in range(30):
        if line.scheduler.preempted:
            break
        line.step()
    assert line.scheduler.preempted == [line.requests[1]]
    counts = line.pages.counts(line.scheduler.running)
    assert counts.protected == 2  # those that the other reads
    line.scheduler.finish(line.requests[0], "stop")
    line.step()
    assert line.requests[1].num_computed_tokens > 8


# Order


def test_longest_prefix_first():
    """Would catch an order that ignores the cache, or a look into it that counts as use."""
    line = Line(prefix_cache=True, max_num_seqs=1, policy="longest_prefix")
    warm = line.add(list(range(13)))
    line.step()
    line.scheduler.finish(warm, "stop")
    line.add(9)
    line.add([*range(8), 99, 98])
    line.add([*range(12), 99, 98])
    hits = [node.payload.hits for node in line.pages.cache.root.children.values()]
    order = []
    for _ in range(3):
        if not order:
            line.scheduler.admission_order()
            assert hits == [node.payload.hits for node in line.pages.cache.root.children.values()]
        while not (done := line.step()):
            pass
        order += done
        line.scheduler.finish(line.scheduler.running[0], "stop")
    assert order == ["r3", "r2", "r1"]


def test_waiting_is_bounded():
    """Would catch a request that waits for ever because others find more in the cache."""
    line = Line(prefix_cache=True, max_num_seqs=1, policy="longest_prefix")
    line.scheduler.max_overtaken = 3
    warm = line.add(list(range(13)))
    line.step()
    line.scheduler.finish(warm, "stop")
    unlucky = line.add(9)
    for number in range(5):
        line.add([*range(12), 90 + number])
        line.step()
        line.scheduler.finish(line.scheduler.running[0], "stop")
        if unlucky.status is Status.FINISHED:
            break
    assert number == 3


def test_a_request_waits_for_the_prefix_that_another_computes_just_now():
    """Would catch 64 requests with one long prefix that all compute it, because they came together."""
    line = Line(prefix_cache=True)
    shared = list(range(24))
    line.add([*shared, 100]), line.add([*shared, 101, 102]), line.add(5)
    assert line.step() == {"r0": 16}
    assert line.step() == {"r0": 9, "r2": 5}
    assert line.step() == {"r0": 1, "r2": 1, "r1": 2}
    assert line.requests[1].num_cached_tokens == 24


def test_a_request_waits_for_a_prefix_beside_other_prompts():
    """Would catch the wait that ends as soon as anybody computes a prompt of another kind in the same step."""
    line = Line(prefix_cache=True)
    line.add(6), line.add([*range(8), 100]), line.add([*range(8), 101])
    assert line.step() == {"r0": 6, "r1": 9}
    assert line.step() == {"r0": 1, "r1": 1, "r2": 1}


def test_twins_that_were_admitted_together(monkeypatch):
    """Would catch a table that names freed duplicates (the integrity check of every step looks at all tables)."""
    monkeypatch.setattr(Scheduler, "is_being_computed", lambda self, request: False)
    line = Line(prefix_cache=True)
    line.add(list(range(10))), line.add(list(range(10)))
    assert line.step() == {"r0": 10, "r1": 4}
    tables = line.pages.kv.block_tables
    assert tables["r0"][0] == tables["r1"][0]
    line.step()
    assert tables["r0"][:2] == tables["r1"][:2]
    assert line.pages.num_duplicates == 1 + 1
    line.scheduler.finish(line.requests[0], "stop")
    for _ in range(5):
        line.step()
    line.scheduler.finish(line.requests[1], "stop")
    line.pages.check_integrity([])
