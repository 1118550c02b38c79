"""Steps that overlap: the next is planned and asked for before the tokens of the one before it are known.

On a CPU nothing runs beside anything, but the order of events is that of a GPU, so all that can go wrong does here.
"""

from dataclasses import replace

import pytest

from yaie.engine.llm import LLM
from yaie.engine.sampling_params import SamplingParams

GREEDY = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)
PROMPTS = [[3, 4, 5, 6, 7, 8, 9, 10, 11], [12, 13], [3, 4, 5, 6, 20], [14, 15, 16]]


def engine(fake, overlap=True, **options) -> LLM:
    return LLM(fake, **({"block_size": 4, "num_blocks": 64, "max_num_seqs": 8, "overlap": overlap} | options))


def watched(llm: LLM) -> list[str]:
    """The order in which steps are asked for ("ask") and their results taken ("take")."""
    events, (launch, results) = [], (llm.runner.launch, llm.runner.results)
    llm.runner.launch = lambda *args: events.append("ask") or launch(*args)
    llm.runner.results = lambda *args: events.append("take") or results(*args)
    return events


def shown(llm: LLM, ids: list[str]) -> dict[str, tuple]:
    """Each request's chunks put together, with its end; nothing may come after that."""
    got = {id: ([], "", None) for id in ids}
    while llm.has_unfinished_requests:
        for chunk in llm.step():
            tokens, text, output = got[chunk.request_id]
            assert output is None, "a chunk after the last"
            got[chunk.request_id] = tokens + chunk.token_ids, text + chunk.text, chunk.output
        llm.check_integrity()
    for tokens, text, output in got.values():
        assert (tokens, text) == (output.token_ids, output.text)
    stats = llm.stats()
    assert stats["pages"]["private"] == stats["pages"]["protected"] == 0
    assert stats["pages"]["free"] + stats["pages"]["evictable"] == stats["pages"]["pool"]
    return got


def test_a_step_is_asked_for_before_the_results_of_the_last_are_taken(fake):
    """Would catch an engine that waits for a step before it plans the next, so that a GPU has nothing to do."""
    llm = engine(fake)
    events = watched(llm)
    assert llm.generate([1, 2], GREEDY)[0].token_ids == fake[0].greedy([1, 2], 12)
    assert events == ["ask", "take", "ask", *["ask", "take"] * 10, "take"]
    steps = engine(fake, overlap=False)
    events = watched(steps)
    steps.generate([1, 2], GREEDY)
    assert events == ["ask", "take"] * 12


@pytest.mark.parametrize("scarce", [False, True])
def test_the_same_answers(fake, scarce):
    """Would catch a token that goes to another request or to another place, whatever asks for it: stop strings, seeds,
    penalties, logprobs, lengths of 1 and 2, and prompts that come in while others decode.
    """
    drawn = replace(GREEDY, temperature=1.5, seed=5)
    stops = fake[2].decode(fake[0].greedy(PROMPTS[1], 6)[4:6])
    many = [
        GREEDY, replace(GREEDY, stop=stops), replace(drawn, logprobs=2), replace(GREEDY, repetition_penalty=1.5),
        replace(GREEDY, max_tokens=1), replace(drawn, max_tokens=2), replace(drawn, top_k=3, top_p=0.8),
        replace(drawn, temperature=0.7, seed=None, presence_penalty=0.5),
    ]  # fmt: skip
    prompts = [[*PROMPTS[n % 4], n] if n != 1 else PROMPTS[1] for n in range(8)]
    answers = []
    for overlap in (False, True):
        llm = engine(fake, overlap, num_blocks=12 if scarce else 64, max_num_seqs=4, max_num_batched_tokens=8)
        ids = [llm.add_request(tokens, params) for tokens, params in zip(prompts, many, strict=True)]
        answers.append([output for _, _, output in shown(llm, ids).values()])
        assert (llm.stats()["preemptions"] > 0) == scarce
    assert [replace(output, num_cached_tokens=0) for output in answers[0]] == [
        replace(output, num_cached_tokens=0) for output in answers[1]
    ]
    assert answers[0][1].finish_reason == "stop"


@pytest.mark.parametrize("block_size", [1, 4])
def test_the_token_after_the_end_is_dropped(fake, block_size):
    """Would catch a token after a stop that is shown, counted, published or in the trace, and a page that is lost."""
    expected = fake[0].greedy([1, 2, 3], 7)
    params = replace(GREEDY, max_tokens=40, stop_token_ids=[expected[-1]])
    counts = []
    for overlap in (False, True):
        llm = engine(fake, overlap, block_size=block_size, trace=True)
        id = llm.add_request([1, 2, 3], params)
        assert shown(llm, [id])[id][0] == expected[: expected.index(expected[-1]) + 1]
        assert llm.pages.cache.find([1, 2, 3, *expected, 5, 5, 5]).length <= 3 + len(expected) - 1
        stats = llm.stats()
        counts.append([stats["generated_tokens"], stats["computed_tokens"], stats["pages"]["evictable"]])
        counts[-1].append([record.work for record in llm.trace if record.work])
    assert counts[0] == counts[1]


def test_nothing_is_computed_after_the_last_token_that_may_come(fake):
    """Would catch a step for a token that is not wanted, which may be one that the model has no position for."""
    computed = []
    for overlap in (False, True):
        before = fake[0].num_computed
        llm = engine(fake, overlap, max_model_len=20)
        outputs = llm.generate(PROMPTS, [replace(GREEDY, max_tokens=n) for n in (99, 1, 2, 7)])
        assert [len(output.token_ids) for output in outputs] == [11, 1, 2, 7]
        computed.append(fake[0].num_computed - before)
    assert computed[0] == computed[1]


def test_an_abort_with_a_step_in_flight(fake):
    """Would catch a place without a token in the answer or in the cache, and pages that go back twice."""
    llm = engine(fake)
    ids = [llm.add_request(tokens, GREEDY) for tokens in PROMPTS]
    chunks = [chunk for _ in range(4) for chunk in llm.step()]
    output = llm.abort(ids[0])
    assert output.token_ids == fake[0].greedy(PROMPTS[0], 12)[: len(output.token_ids)] != []
    llm.check_integrity()
    while llm.has_unfinished_requests:
        chunks += llm.step()
    for id, tokens in zip(ids, PROMPTS, strict=True):
        given = [token for chunk in chunks if chunk.request_id == id for token in chunk.token_ids]
        assert given == (output.token_ids if id == ids[0] else fake[0].greedy(tokens, 12))
    llm.check_integrity()
    assert llm.generate(PROMPTS[0], GREEDY)[0].token_ids == fake[0].greedy(PROMPTS[0], 12)


def test_numbers_that_are_not_finite_while_the_next_step_is_in_flight(fake):
    """Would catch a request that goes on after its error, one that publishes NaN, and an error that others get."""
    good, bad = [5, 6, 7], [8, 9]
    fake[0].poison = fake[0].greedy(bad, 5)[4]
    right = fake[0].greedy(good, 4)
    assert fake[0].poison not in [*right, *fake[0].greedy(bad, 4)]
    llm = engine(fake)
    ids = [llm.add_request(bad, GREEDY), llm.add_request(good, replace(GREEDY, max_tokens=4))]
    got = shown(llm, ids)
    assert got[ids[0]][2].finish_reason == "error"
    assert "not finite" in got[ids[0]][2].error
    assert len(got[ids[0]][0]) == 5
    assert got[ids[1]][0] == right
    assert llm.pages.cache.find([*bad, *fake[0].greedy(bad, 5)]).length <= 4


@pytest.mark.parametrize("place", ["launch", "results"])
def test_a_step_that_fails(fake, place, monkeypatch):
    """Would catch tokens that are lost with the step after theirs, and requests that nobody ends."""
    llm = engine(fake)
    ids = [llm.add_request(tokens, GREEDY) for tokens in PROMPTS]
    chunks = [chunk for _ in range(4) for chunk in llm.step()]
    before = {id: sum(len(chunk.token_ids) for chunk in chunks if chunk.request_id == id) for id in ids}
    with monkeypatch.context() as patch:
        patch.setattr(llm.runner, place, lambda *_: [][0])
        chunks += llm.step()
    chunks += [chunk for _ in range(3) for chunk in llm.step()]
    for id, tokens in zip(ids, PROMPTS, strict=True):
        own = [chunk for chunk in chunks if chunk.request_id == id]
        assert own[-1].output.finish_reason == "error"
        assert "IndexError" in own[-1].output.error
        given = [token for chunk in own for token in chunk.token_ids]
        assert given == own[-1].output.token_ids == fake[0].greedy(tokens, 12)[: len(given)]
        assert len(given) == before[id] + (place == "launch")
    assert isinstance(llm.last_error, IndexError)
    llm.check_integrity()
    assert llm.generate(PROMPTS[0], GREEDY)[0].token_ids == fake[0].greedy(PROMPTS[0], 12)


def test_a_cut_while_a_step_is_waited_for_loses_nothing(fake, monkeypatch):
    """Would catch a pool that is made anew, with all that it had cached, because someone pressed Ctrl-C."""
    llm = engine(fake)
    ids = [llm.add_request(tokens, GREEDY) for tokens in PROMPTS]
    chunks, kv = [chunk for _ in range(4) for chunk in llm.step()], llm.kv

    def cut(*_):
        raise KeyboardInterrupt

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(llm.runner, "results", cut)
            with pytest.raises(KeyboardInterrupt):
                llm.step()
    while llm.has_unfinished_requests:
        chunks += llm.step()
    assert llm.kv is kv
    for id, tokens in zip(ids, PROMPTS, strict=True):
        given = [token for chunk in chunks if chunk.request_id == id for token in chunk.token_ids]
        assert given == fake[0].greedy(tokens, 12)
    llm.check_integrity()
