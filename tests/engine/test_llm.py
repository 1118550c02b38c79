"""The engine from outside, on a model whose right answers are known: results, streaming, stops, errors, faults."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from yaie.engine import runner as runner_module
from yaie.engine.llm import LLM
from yaie.engine.sampling_params import SamplingParams
from yaie.kernels import radix_tree
from yaie.plots import timeline_rows

GREEDY = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)


class Checked(LLM):
    """Each greedy answer must be the one that the model gives alone, also in a test that looks at how it ended."""

    def generate(self, prompts, params=None):
        outputs = super().generate(prompts, params)
        many = params if isinstance(params, list) else [params or SamplingParams()] * len(outputs)
        for output, one in zip(outputs, many, strict=True):
            if (one.temperature, one.repetition_penalty, one.presence_penalty) == (0, 1, 0):
                assert output.token_ids == self.model.greedy(output.prompt_token_ids, len(output.token_ids))
            if output.finish_reason == "length" and self.tokenizer:
                assert output.text == self.tokenizer.decode(output.token_ids)
        return outputs


def engine(fake, **options) -> LLM:
    return Checked(
        fake, **{"block_size": 4, "num_blocks": 64, "max_num_seqs": 8, "max_num_batched_tokens": 32, **options}
    )


def prompt(length: int, seed: int) -> list[int]:
    return torch.randint(1, 61, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def run(llm: LLM) -> dict[str, object]:
    """Step to the end with all accounts checked after every step; outputs by request."""
    outputs = {}
    while llm.has_unfinished_requests:
        for chunk in llm.step():
            if chunk.output:
                assert chunk.request_id not in outputs, "a request ended twice"
                outputs[chunk.request_id] = chunk.output
        llm.check_integrity()
    return outputs


def test_generate_answers_in_the_order_of_the_prompts(fake):
    """Would catch outputs in the order in which requests end."""
    llm = engine(fake)
    prompts = [prompt(n, seed=n) for n in (30, 3, 17, 1, 8)]
    many = [SamplingParams(temperature=0, max_tokens=n, ignore_eos=True) for n in (1, 9, 4, 16, 2)]
    outputs = llm.generate(prompts, many)
    for tokens, params, output in zip(prompts, many, outputs, strict=True):
        assert output.prompt_token_ids == tokens
        assert output.token_ids == fake[0].greedy(tokens, params.max_tokens)
        assert output.text == fake[2].decode(output.token_ids)
        assert output.finish_reason == "length"
    llm.check_integrity()


@pytest.mark.parametrize("reuse", [False, True])
def test_a_prompt_again_finds_its_whole_pages(fake, reuse):
    """Would catch a full hit (nothing to compute, no logits), and pages that are counted as cached but computed."""
    llm = engine(fake, prefix_cache=reuse)
    tokens = prompt(16, seed=1)
    first = llm.generate(tokens, GREEDY)[0]
    before = fake[0].num_computed
    second = llm.generate(tokens, GREEDY)[0]
    assert (first.num_cached_tokens, second.num_cached_tokens) == (0, 12 if reuse else 0)
    assert fake[0].num_computed - before == 16 - second.num_cached_tokens + GREEDY.max_tokens - 1
    assert first.token_ids == second.token_ids == fake[0].greedy(tokens, 12)


def test_the_next_turn_of_a_chat_finds_the_answer_of_the_last(fake):
    """Would catch generated tokens that are not published, or one too many (the last has no key yet)."""
    llm = engine(fake)
    first = llm.generate(prompt(9, seed=2), GREEDY)[0]
    history = first.prompt_token_ids + first.token_ids
    second = llm.generate([*history, 1, 2], GREEDY)[0]
    assert second.num_cached_tokens == (len(history) - 1) // 4 * 4
    assert second.token_ids == fake[0].greedy([*history, 1, 2], 12)


def test_a_prompt_is_found_while_its_first_request_still_runs(fake):
    """Would catch an engine that publishes only what has ended: requests at the same time would share nothing."""
    llm = engine(fake)
    shared = prompt(12, seed=3)
    first = llm.add_request([*shared, 1], GREEDY)
    llm.step()
    second = llm.add_request([*shared, 2], GREEDY)
    outputs = run(llm)
    assert (outputs[first].num_cached_tokens, outputs[second].num_cached_tokens) == (0, 12)


def test_keys_are_written_before_they_are_published(fake):
    """Would catch a prefix that others find while it is still being computed."""
    llm = engine(fake, max_num_batched_tokens=8)
    forward, seen = llm.runner.model, []

    def watching(batch, kv, *rest):
        for request in llm.scheduler.running:
            cached = llm.pages.cache.match(request.token_ids).length
            seen.append(cached <= request.num_computed_tokens)
        return forward(batch, kv, *rest)

    llm.runner.model = watching
    watching.logits = forward.logits
    llm.generate([prompt(20, seed=3), prompt(11, seed=4)], GREEDY)
    assert seen
    assert all(seen)


# Where an answer ends


def test_end_token_stop_tokens_and_length(fake):
    """Would catch an end that is missed, comes a token late, or leaves its token in the text."""
    tokens = prompt(7, seed=5)
    free = fake[0].greedy(tokens, 40)
    stop = next(t for t in free[3:] if t not in free[:3] and t != 0)
    place = free.index(stop)
    llm = engine(fake)
    output = llm.generate(tokens, SamplingParams(temperature=0, max_tokens=40, ignore_eos=True, stop_token_ids=[stop]))[
        0
    ]
    assert (output.finish_reason, output.token_ids) == ("stop", free[: place + 1])
    assert output.text == fake[2].decode(free[:place])
    fake[2].eos_token_ids = (stop,)
    output = llm.generate(tokens, SamplingParams(temperature=0, max_tokens=40))[0]
    assert (output.finish_reason, output.token_ids) == ("stop", free[: place + 1])
    output = llm.generate(tokens, SamplingParams(temperature=0, max_tokens=place))[0]
    assert (output.finish_reason, output.token_ids) == ("length", free[:place])


def test_stop_string_over_several_tokens(fake):
    """Would catch a stop string found inside one token only, and streamed text that shows its beginning."""
    tokens = prompt(7, seed=6)
    text = fake[2].decode(fake[0].greedy(tokens, 40))
    stop = text[10:13]
    assert text.find(stop) == 10
    llm = engine(fake)
    params = SamplingParams(temperature=0, max_tokens=40, ignore_eos=True, stop=[stop, "never"])
    chunks = list(llm.stream(tokens, params))
    assert "".join(chunk.text for chunk in chunks) == chunks[-1].output.text == text[:10]
    assert chunks[-1].output.finish_reason == "stop"
    assert len(chunks[-1].output.token_ids) == 13


def test_the_end_of_model_and_pool_end_an_answer(fake):
    """Would catch a position that the model was not made for, and a request that waits for pages for ever."""
    llm = engine(fake, max_model_len=20)
    params = SamplingParams(temperature=0, max_tokens=100, ignore_eos=True)
    output = llm.generate(prompt(15, seed=7), params)[0]
    assert (output.finish_reason, len(output.token_ids)) == ("length", 5)
    llm = engine(fake, num_blocks=4)
    output = llm.generate(prompt(15, seed=7), params)[0]
    assert (output.finish_reason, len(output.token_ids)) == ("length", 1)
    assert llm.generate(prompt(16, seed=7), params)[0].finish_reason == "error"


def test_nobody_converts_tokens_on_the_way(fake, monkeypatch):
    """Would catch lists of token ids that are made into arrays for every match, publication or candidate."""
    as_int_array, seen = radix_tree.as_int_array, []

    def watching(values, name):
        seen.append((name, type(values)))
        return as_int_array(values, name)

    monkeypatch.setattr(radix_tree, "as_int_array", watching)
    llm = engine(fake, num_blocks=24, policy="longest_prefix")
    llm.generate([[*prompt(20, seed=1)[:n], n] for n in (20, 12, 16, 8, 20)] * 3, GREEDY)
    assert llm.stats()["cached_tokens"] > 0
    assert {kind for name, kind in seen if name == "tokens"} == {np.ndarray}


# Streaming and aborting


def test_streams_deliver_what_generate_returns(fake):
    """Would catch tokens lost or doubled when several streams and single requests share the engine."""
    llm = engine(fake)
    prompts = [prompt(n, seed=n) for n in (5, 9, 13)]
    one = llm.stream(prompts[0], GREEDY)
    two = llm.stream(prompts[1:], GREEDY)
    text = {0: "", 1: "", 2: ""}
    outputs = {}

    def take(stream, offset):
        for chunk in [next(stream, None)]:
            if chunk is not None:
                text[offset + chunk.index] += chunk.text
                if chunk.output:
                    outputs[offset + chunk.index] = chunk.output
        return chunk

    take(one, 0)
    lonely = llm.add_request(prompt(4, seed=9), GREEDY)
    while take(two, 1):
        take(one, 0)
    while take(one, 0):
        pass
    single = [chunk for _ in range(30) for chunk in llm.step()]
    assert {chunk.request_id for chunk in single} == {lonely}
    assert [token for chunk in single for token in chunk.token_ids] == single[-1].output.token_ids
    for index, tokens in enumerate(prompts):
        assert outputs[index].token_ids == fake[0].greedy(tokens, 12)
        assert outputs[index].text == text[index]


def test_closing_a_stream_aborts_its_requests_only(fake):
    """Would catch a request that goes on for nobody, and one of another caller that is taken along."""
    llm = engine(fake)
    other = llm.add_request(prompt(6, seed=1), GREEDY)
    stream = llm.stream([prompt(5, seed=2), prompt(30, seed=3)], GREEDY)
    next(stream)
    stream.close()
    assert list(llm._requests) == [other]
    llm.check_integrity()
    assert llm.generate(prompt(5, seed=2), GREEDY)[0].finish_reason == "length"


@pytest.mark.parametrize("num_steps", [0, 1, 2, 6])
def test_abort(fake, num_steps):
    """Would catch pages, locks or a place in the line that outlive the request: waiting, in prefill, in decode."""
    llm = engine(fake, max_num_batched_tokens=8, max_num_seqs=2)
    keep = llm.add_request(prompt(6, seed=1), GREEDY)
    gone = llm.add_request(prompt(20, seed=2), GREEDY)
    for _ in range(num_steps):
        llm.step()
    output = llm.abort(gone)
    assert output.finish_reason == "abort"
    assert output.token_ids == fake[0].greedy(prompt(20, seed=2), 12)[: len(output.token_ids)]
    llm.check_integrity()
    with pytest.raises(KeyError):
        llm.abort(gone)
    outputs = run(llm)
    assert list(outputs) == [keep]
    assert outputs[keep].token_ids == fake[0].greedy(prompt(6, seed=1), 12)


# Sampling


def test_text_does_not_depend_on_who_shares_the_batch(fake):
    """Would catch a generator that serves several requests."""
    params = SamplingParams(temperature=1.5, top_p=0.95, seed=11, max_tokens=15, ignore_eos=True)
    others = SamplingParams(temperature=1.0, max_tokens=15, repetition_penalty=1.3, ignore_eos=True)
    tokens = prompt(10, seed=8)
    alone = engine(fake).generate(tokens, params)[0].token_ids
    mates = [prompt(n, seed=n) for n in range(1, 8)]
    for place in (0, 4, 7):
        prompts = [*mates[:place], tokens, *mates[place:]]
        many = [others] * place + [params] + [others] * (7 - place)
        scarce = engine(fake, num_blocks=16, max_num_seqs=4)
        assert engine(fake).generate(prompts, many)[place].token_ids == alone
        assert scarce.generate(prompts, many)[place].token_ids == alone
    assert engine(fake).generate(tokens, replace(params, seed=12))[0].token_ids != alone


def test_runs_repeat_and_requests_differ(fake):
    """Would catch unseeded requests that all draw the same, or that cannot be repeated."""
    params = SamplingParams(temperature=2.0, max_tokens=12, ignore_eos=True)
    prompts = [prompt(6, seed=1)] * 3
    first = [output.token_ids for output in engine(fake).generate(prompts, params)]
    assert first == [output.token_ids for output in engine(fake).generate(prompts, params)]
    assert len({tuple(tokens) for tokens in first}) == 3
    assert first != [output.token_ids for output in engine(fake, seed=1).generate(prompts, params)]


def test_logprobs(fake):
    """Would catch probabilities after temperature, of another row, or without the chosen token."""
    params = SamplingParams(temperature=0.5, seed=3, logprobs=4, max_tokens=6, ignore_eos=True)
    outputs = engine(fake).generate([prompt(5, seed=1), prompt(9, seed=2)], params)
    for output in outputs:
        tokens = list(output.prompt_token_ids)
        assert len(output.logprobs) == 6
        for token, entry in zip(output.token_ids, output.logprobs, strict=True):
            expected = fake[0].row(tokens).log_softmax(dim=-1)
            assert entry.token_id == token
            assert entry.logprob == pytest.approx(expected[token].item(), abs=1e-5)
            values, ids = expected.topk(4)
            assert [token_id for token_id, _ in entry.top] == ids.tolist()
            assert [value for _, value in entry.top] == pytest.approx(values.tolist(), abs=1e-5)
            tokens.append(token)
    assert engine(fake).generate(prompt(5, seed=1), GREEDY)[0].logprobs is None


# Bad input and faults


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ([], "empty"),
        ("", "empty"),
        ([1, 61], "token 1 of the prompt is 61"),
        ([-1], "token 0 of the prompt is -1"),
        ([1, "a"], "'a'"),
        ([True], "True"),
        ([1.0], "1.0"),
        ([1] * 512, "512 tokens"),
        ([1] * 256, "64 pages of 4 tokens"),
        ("%", "request"),
        ([{"role": "user"}], "message 0 has no 'content'"),
    ],
)
def test_a_prompt_that_cannot_be_served_is_refused_alone(fake, bad, says):
    """Would catch one bad prompt that takes a batch with it, or is served with wrong tokens."""
    llm = engine(fake)
    good = prompt(5, seed=1)
    outputs = llm.generate([good, bad, good], GREEDY)
    assert [output.finish_reason for output in outputs] == ["length", "error", "length"]
    assert says in outputs[1].error
    assert "request-1" in outputs[1].error
    assert outputs[0].token_ids == outputs[2].token_ids == fake[0].greedy(good, 12)
    with pytest.raises(ValueError, match="mine"):
        llm.add_request(bad, GREEDY, "mine")
    assert not llm.has_unfinished_requests


def test_an_id_in_use_is_refused(fake):
    """Would catch two requests that share one block table."""
    llm = engine(fake)
    llm.add_request([1, 2], GREEDY, "a")
    with pytest.raises(ValueError, match="'a'"):
        llm.add_request([1, 2], GREEDY, "a")
    run(llm)
    llm.add_request([1, 2], GREEDY, "a")


@pytest.mark.parametrize(
    "bad",
    [
        {"temperature": -1},
        {"temperature": float("nan")},
        {"top_k": 0},
        {"top_p": 0},
        {"top_p": 1.1},
        {"min_p": -0.1},
        {"repetition_penalty": 0},
        {"presence_penalty": 3},
        {"seed": -1},
        {"max_tokens": 0},
        {"stop": ""},
        {"stop": [3]},
        {"stop_token_ids": ["x"]},
        {"logprobs": -1},
        {"logprobs": True},
    ],
)
def test_bad_parameters_are_named(bad):
    """Would catch a value that fails later, inside a batch, for everybody."""
    with pytest.raises(ValueError, match=next(iter(bad))):
        SamplingParams(**bad)


@pytest.mark.parametrize("place", [0, 9, 25])
def test_numbers_that_are_not_finite_end_their_own_request(fake, place):
    """Would catch NaN that reaches others through the batch, the sampler, a freed page or the prefix cache."""
    fake[0].poison = 60
    llm = engine(fake, num_blocks=24)
    good = [[t % 60 for t in prompt(n, seed=n)] for n in (5, 20, 9)]
    bad = [t % 60 for t in prompt(26, seed=4)]
    healthy = fake[0].greedy([*bad[:place], 1], 1)  # the beginning is harmless
    bad[place] = 60
    params = SamplingParams(temperature=0, max_tokens=3, ignore_eos=True, stop_token_ids=[60])
    outputs = llm.generate([good[0], bad, *good[1:]], params)
    assert [output.finish_reason for output in outputs].count("error") == 1
    assert "not finite" in outputs[1].error
    llm.check_integrity()
    assert llm.pages.cache.match(bad).length <= place // 4 * 4
    assert llm.generate([*bad[:place], 1], params)[0].token_ids[:1] == healthy


def test_logits_that_are_not_finite_end_their_own_request(fake):
    """Would catch an argmax over NaN, and a sampler whose error fails the whole batch."""
    tokens = prompt(5, seed=1)
    for value in (float("nan"), float("inf"), -float("inf")):
        model = type(fake[0])()
        model.table[:, 0] = -float("inf")  # allowed in part of a row: this token is never chosen
        model.table[next_key(tokens)] = value
        llm = engine((model, model.config, fake[2]))
        other = prompt(6, seed=2)
        outputs = llm.generate([tokens, other], GREEDY)
        assert [output.finish_reason for output in outputs] == ["error", "length"]
        assert "logits" in outputs[0].error
        assert outputs[1].token_ids == model.greedy(other, 12)
        llm.check_integrity()


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("temperature", [0, 1.0])
def test_a_request_that_fails_leaves_the_others_their_own_tokens(fake, place, temperature, monkeypatch):
    """Would catch rows that are mixed up, and a token that is drawn from NaN."""
    fake[0].poison = 60
    params = SamplingParams(temperature=temperature, seed=3, max_tokens=4, ignore_eos=True)
    prompts = [[t % 60 for t in prompt(n, seed=n)] for n in (5, 9)]
    alone = [engine(fake).generate(tokens, params)[0].token_ids for tokens in prompts]
    llm = engine(fake)
    prompts.insert(place, [60, 1, 2])
    outputs = llm.generate(prompts, params)
    assert outputs.pop(place).finish_reason == "error"
    assert [output.token_ids for output in outputs] == alone


def test_chunks_of_one_token(fake):
    """Would catch a prompt that is taken for a decode because one token of it is computed: it would get an answer."""
    llm = engine(fake, max_num_batched_tokens=2, max_num_seqs=2)
    prompts = [prompt(3, seed=1), prompt(9, seed=2)]
    assert [output.token_ids for output in llm.generate(prompts, GREEDY)] == [fake[0].greedy(p, 12) for p in prompts]


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_choosing_tokens_looks_at_no_number(fake, temperature, monkeypatch):
    """Would catch a look at a number before the step is asked for: it waits for the device, once more in each step."""
    llm, calls = engine(fake), []
    choose = llm.runner.next_tokens

    def blind(*arguments):
        with monkeypatch.context() as patch:
            for name in ("item", "tolist", "numpy", "cpu", "__bool__", "__int__"):
                patch.setattr(torch.Tensor, name, lambda *_: pytest.fail("looked"))
            calls.append(1)
            return choose(*arguments)

    monkeypatch.setattr(llm.runner, "next_tokens", blind)
    params = SamplingParams(temperature=temperature, max_tokens=12, ignore_eos=True)
    outputs = llm.generate([prompt(40, seed=1), prompt(3, seed=2)], params)
    assert [output.finish_reason for output in outputs] == ["length", "length"]
    assert len(calls) == llm.num_steps


def test_how_tokens_are_chosen_is_sent_when_the_batch_changes(fake, monkeypatch):
    """Would catch parameters that are laid and sent again in every step, and those of an earlier batch."""
    llm, sent = engine(fake), []
    draws = runner_module.Draws
    monkeypatch.setattr(runner_module, "Draws", lambda params, *rest: sent.append(len(params)) or draws(params, *rest))
    params = SamplingParams(temperature=1.0, seed=3, max_tokens=9, ignore_eos=True)
    many = [params, replace(params, max_tokens=4), replace(params, temperature=0)]
    together = llm.generate([[1], [2], [3]], many)
    assert sent == [3, 2]
    for number, one in enumerate(many):
        assert engine(fake).generate([number + 1], one)[0].token_ids == together[number].token_ids


@pytest.mark.parametrize("penalty", [-2, -1, 0, 1, 2])
def test_a_penalty_counts_whatever_its_value(fake, penalty):
    """Would catch one value that is taken for "no penalty" and goes the short way, past the sampler."""
    prompts = [prompt(n, seed=n) for n in (3, 6, 9)]
    params = SamplingParams(temperature=0, presence_penalty=penalty, max_tokens=12, ignore_eos=True)
    expected = []
    for tokens in prompts:
        answer = []
        for _ in range(12):
            row = fake[0].row([*tokens, *answer]).clone()
            row[list(set(answer))] -= penalty
            answer.append(int(row.argmax()))
        expected.append(answer)
    assert [output.token_ids for output in engine(fake).generate(prompts, params)] == expected
    assert (expected == [fake[0].greedy(tokens, 12) for tokens in prompts]) == (penalty == 0)


def next_key(tokens: list[int]) -> int:
    places = torch.arange(1, len(tokens) + 1)
    return int((torch.tensor(tokens) + 1) @ (places * places + 17 * places)) * 2654435761 % 2**32 % 1009


def test_an_exception_in_the_model_ends_the_requests_of_that_step(fake):
    """Would catch an engine that is dead, or has lost pages, after one failed step."""
    llm = engine(fake, max_num_seqs=2)
    fake[0].fail_on = 60
    tokens = [[t % 60 for t in prompt(n, seed=n)] for n in (5, 7, 9)]
    params = SamplingParams(temperature=0, max_tokens=3, ignore_eos=True)
    outputs = llm.generate([[60, 1], tokens[0], tokens[1], tokens[2]], params)
    assert [output.finish_reason for output in outputs] == ["error", "error", "length", "length"]
    assert "failed on purpose" in outputs[0].error
    assert isinstance(llm.last_error, ZeroDivisionError)
    assert outputs[3].token_ids == fake[0].greedy(tokens[2], 3)
    llm.check_integrity()
    assert llm.stats()["pages"]["private"] == 0


def test_a_failed_request_publishes_nothing_more(fake):
    """Would catch pages of unknown content in the cache, because a request that failed is ended like any other."""
    llm = engine(fake)
    tokens = prompt(8, seed=1)
    request_id = llm.add_request(tokens, GREEDY)
    for _ in range(8):
        llm.step()
    computed = llm._requests[request_id].token_ids
    fake[0].fail_on = computed[-1]
    assert run(llm)[request_id].finish_reason == "error"
    assert llm.pages.cache.match(computed).length == 8


@pytest.mark.parametrize("name", ["admit", "chunk_size"])
def test_an_exception_in_the_bookkeeping_leaves_a_sound_engine(fake, name, monkeypatch):
    """Would catch pages whose owner nobody knows, after a function of it has raised half-way."""
    llm = engine(fake)
    llm.generate(prompt(9, seed=1), GREEDY)
    running = llm.add_request(prompt(5, seed=2), GREEDY)
    llm.step()
    waiting = llm.add_request(prompt(5, seed=3), GREEDY)
    with monkeypatch.context() as broken:
        broken.setattr(type(llm.scheduler), name, lambda *args: [][0])
        chunks = llm.step()
    assert {chunk.request_id: chunk.output.finish_reason for chunk in chunks} == {running: "error", waiting: "error"}
    assert "IndexError" in chunks[0].output.error
    llm.check_integrity()
    assert llm.stats()["pages"]["free"] == 64
    assert llm.generate(prompt(5, seed=2), GREEDY)[0].token_ids == fake[0].greedy(prompt(5, seed=2), 12)


def test_a_scheduler_that_chooses_nobody_is_an_error_and_no_endless_loop(fake, monkeypatch):
    """Would catch an engine that spins for ever because its scheduler returns nothing."""
    llm = engine(fake)
    monkeypatch.setattr(type(llm.scheduler), "admit", lambda self, budget: [])
    assert "chose none" in llm.generate(prompt(5, seed=1), GREEDY)[0].error


def test_interrupting_a_step_leaves_a_sound_engine(fake):
    """Would catch what Ctrl-C leaves behind in a notebook: requests that run on, pages that nobody owns."""
    llm = engine(fake)
    run_model = llm.runner.launch

    def interrupted(*arguments):
        raise KeyboardInterrupt

    llm.runner.launch = interrupted
    with pytest.raises(KeyboardInterrupt):
        llm.generate([prompt(5, seed=1), prompt(9, seed=2)], GREEDY)
    llm.runner.launch = run_model
    assert not llm.has_unfinished_requests
    llm.check_integrity()
    assert llm.generate(prompt(5, seed=1), GREEDY)[0].token_ids == fake[0].greedy(prompt(5, seed=1), 12)


# Options and accounts


def test_operations_may_be_given_instead_of_a_name(fake):
    """Would catch an engine that makes operations of its own, so that what was asked for never runs."""
    operations = LLM(fake, num_blocks=8).runner.operations
    llm = engine(fake, backend=operations)
    assert llm.runner.operations is operations
    assert llm.generate(prompt(5, seed=1), GREEDY)[0].token_ids == fake[0].greedy(prompt(5, seed=1), 12)


@pytest.mark.parametrize("bad", [{"backend": "none"}, {"policy": "x"}, {"eviction": "x"}])
def test_bad_options_are_named(fake, bad):
    """Would catch a misspelt option that is ignored."""
    with pytest.raises(ValueError, match=next(iter(bad.values()))):
        engine(fake, **bad)


def test_a_misspelt_option_is_refused_before_a_model_is_loaded(monkeypatch):
    """Would catch minutes of loading that end in a TypeError, and an option that is ignored."""
    monkeypatch.setattr("yaie.models.loader.load_model", lambda *_: pytest.fail("a model was loaded"))
    with pytest.raises(TypeError, match="polcy"):
        LLM("tiny", polcy="fcfs")


def test_one_params_or_one_for_each(fake):
    """Would catch a list of another length that is cut silently."""
    with pytest.raises(ValueError, match="2 prompts"):
        engine(fake).generate([[1], [2]], [GREEDY])


def test_stats_and_trace(fake):
    """Would catch pages that do not add up, and a timeline that differs from what happened."""
    llm = engine(fake, num_blocks=8, max_num_batched_tokens=8, max_num_seqs=3, trace=True)
    ids = [llm.add_request(prompt(n, seed=n), GREEDY) for n in (6, 14, 5)]
    outputs = run(llm)
    stats = llm.stats()
    assert stats["preemptions"] > 0
    assert stats["generated_tokens"] == 36 == sum(len(outputs[id].token_ids) for id in ids)
    for record in llm.trace:
        pages = record.pages
        assert pages.free + pages.evictable + pages.protected + pages.private == pages.pool == 8
    rows = timeline_rows(llm.trace)
    assert {kind for _, _, _, kind, _ in rows} == {"waiting", "prefill", "decode", "preempted"}
    for id in ids:
        own = [row for row in rows if row[0] == id]
        assert own[0][1] == 0
        assert all(a[2] == b[1] for a, b in pairwise(own))
        assert id in llm.trace[own[-1][2] - 1].finished


def test_an_engine_keeps_nothing_that_nobody_asked_for(fake):
    """Would catch a server whose memory grows with every step: a trace by default, queues and requests of the past."""
    llm = engine(fake)
    llm.generate([prompt(6, seed=0), prompt(9, seed=1)], GREEDY)
    llm.add_request(prompt(5, seed=2), GREEDY)
    run(llm)
    assert llm.trace is None
    assert not [*llm._requests, *llm._queue, *llm._forgotten]


def test_beside_a_refused_prompt_others_draw_what_they_would_without_it(fake):
    """Would catch a refused prompt that takes two numbers or none, and one whose answer is not told by its id."""
    drawn = SamplingParams(temperature=1.5, max_tokens=12, ignore_eos=True)
    good = [prompt(5, seed=n) for n in range(3)]
    expected = engine(fake).generate(good, drawn)
    refused, *others = engine(fake).generate([[], *good[1:]], drawn)
    assert [output.token_ids for output in others] == [output.token_ids for output in expected[1:]]
    assert [refused.request_id, *(output.request_id for output in others)] == [o.request_id for o in expected]
    assert (refused.text, refused.token_ids, refused.finish_reason) == ("", [], "error")
