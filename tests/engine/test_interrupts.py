"""Ctrl-C at any line of the engine: nothing handed in is lost, nothing handed out twice, the same tokens come.

The brothers, each of which a cut at some line of this file's runs would show:

- a request that is lost, or that goes on for nobody: cut in `add_request`, `schedule`, `_take`, `abort`
- a chunk that is lost on its way out of `step`, or that comes twice: cut in `step`, `_deliver`
- a token that is drawn again with the next number: cut after the draw, in `run` or `_take`
- text, logprobs or stop strings that go on from another place than the tokens: cut in `_take`
- an engine that is dead: a second cut while pool and scheduler are made anew
- a stream that waits for ever, or that takes others with it: cut in another's step
"""

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count, islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from yaie.engine import engine as engine_module
from yaie.engine.llm import LLM
from yaie.engine.sampling_params import SamplingParams
from yaie.models.batch import TableRows

YAIE = str(Path(engine_module.__file__).parents[1])
OPTIONS = {"block_size": 4, "num_blocks": 7, "max_num_seqs": 3, "max_num_batched_tokens": 8}
DRAWN = SamplingParams(temperature=1.5, seed=5, max_tokens=6, ignore_eos=True, logprobs=1)
WORK = {
    "greedy": ([3, 4, 5, 6, 7, 8, 9, 10, 11], SamplingParams(temperature=0, max_tokens=5, ignore_eos=True)),
    "drawn": ([3, 4, 5, 6, 9], DRAWN),
    "stopped": ([12, 13], SamplingParams(temperature=0.7, seed=9, max_tokens=9, ignore_eos=True, stop=["zz", "Q"])),
}


class CutAt:
    """Raises KeyboardInterrupt before the lines of the engine with these numbers, counted from entering on.

    only: names of functions whose lines alone count
    """

    def __init__(self, *numbers: int, opcodes: bool = False, only: tuple[str, ...] = ()) -> None:
        self.numbers, self.count, self.opcodes, self.only = set(numbers), 0, opcodes, only

    def __enter__(self):
        self.before = sys.gettrace()
        sys.settrace(self.trace)
        return self

    def __exit__(self, *error) -> None:
        sys.settrace(self.before)

    def trace(self, frame, event, arg):
        if not frame.f_code.co_filename.startswith(YAIE) or (self.only and frame.f_code.co_name not in self.only):
            return None
        frame.f_trace_opcodes = self.opcodes
        if event == ("opcode" if self.opcodes else "line"):
            self.count += 1
            if self.count in self.numbers:
                self.act()
        return self.trace

    def act(self) -> None:
        raise KeyboardInterrupt


def again(call, *arguments):
    """Call until it is not cut, as a program does that goes on after Ctrl-C."""
    while True:
        try:
            return call(*arguments)
        except KeyboardInterrupt:
            continue


def serve(llm: LLM, cut: CutAt) -> dict[str, tuple]:
    """Each request's answer, put together from chunks, with all that is promised about them checked."""
    got = {name: ([], "", None) for name in WORK}
    with cut:
        for name, (tokens, params) in WORK.items():
            again(llm.add_request, tokens, params, name)
        while again(lambda: llm.has_unfinished_requests):
            chunks = again(llm.step)
            for chunk in chunks:
                token_ids, text, output = got[chunk.request_id]
                assert output is None, "a chunk after the last"
                got[chunk.request_id] = (token_ids + chunk.token_ids, text + chunk.text, chunk.output)
    for chunk in llm.step():  # cut after the last step, before it was handed out
        token_ids, text, output = got[chunk.request_id]
        assert output is None, "a chunk after the last"
        got[chunk.request_id] = (token_ids + chunk.token_ids, text + chunk.text, chunk.output)
    llm.check_integrity()
    stats = llm.stats()
    assert stats["running"] == stats["waiting"] == 0
    assert stats["pages"]["free"] + stats["pages"]["evictable"] == OPTIONS["num_blocks"]
    for name, (token_ids, text, output) in got.items():
        assert output is not None, f"{name} was lost"
        assert (token_ids, text) == (output.token_ids, output.text), f"{name} got other chunks than its output"
    return {
        name: (output.token_ids, output.text, output.finish_reason, output.logprobs)
        for name, (_, _, output) in got.items()
    }


def places(fake, num: int, seed: int, overlap: bool) -> list[int]:
    """`num` of the lines of an uncut run, and how many there are."""
    cut = CutAt()
    serve(LLM(fake, **OPTIONS, overlap=overlap), cut)
    return sorted(random.Random(seed).sample(range(1, cut.count), num))


@pytest.mark.parametrize("overlap", [False, True])
def test_a_cut_at_any_line_loses_and_doubles_nothing(fake, overlap):
    """Would catch each of the brothers above but the last two; some of the lines, others each time the seed changes."""
    right = serve(LLM(fake, **OPTIONS), CutAt())
    for place in places(fake, 80, seed=1, overlap=overlap):
        assert serve(LLM(fake, **OPTIONS, overlap=overlap), CutAt(place)) == right, f"cut at line {place}"


@pytest.mark.parametrize("overlap", [False, True])
def test_a_second_cut_while_the_engine_recovers(fake, overlap):
    """Would catch an engine that is dead, or that forgets what the first cut left, after Ctrl-C pressed twice."""
    right = serve(LLM(fake, **OPTIONS), CutAt())
    rng = random.Random(2)
    for place in places(fake, 50, seed=2, overlap=overlap):
        again_at = place + rng.randrange(1, 60)
        cut = CutAt(place, again_at, again_at + 9)
        assert serve(LLM(fake, **OPTIONS, overlap=overlap), cut) == right, f"cut at line {place}"


# Streams: whoever waits is woken


def test_a_stream_whose_request_is_aborted_ends_with_it(fake):
    """Would catch a stream that spins for ever because its request was ended from outside."""
    llm = LLM(fake, **OPTIONS)
    stream = llm.stream([[3, 4], [5, 6]], DRAWN)
    first = next(stream)
    output = llm.abort(first.request_id)
    chunks = list(stream)
    ends = [chunk for chunk in chunks if chunk.output]
    assert [chunk.output.finish_reason for chunk in ends] == ["abort", "length"]
    assert ends[0].output == output
    assert [c for c in chunks if c.request_id == first.request_id] == [ends[0]]
    llm.check_integrity()


def test_after_an_abort_nothing_more_comes(fake):
    """Would catch chunks of a request that was ended, which come because a stream made the steps."""
    llm = LLM(fake, **OPTIONS)
    gone, stays = (llm.add_request([n, n + 1], DRAWN) for n in (3, 5))
    next(llm.stream([7, 8], DRAWN))
    output = llm.abort(gone)
    assert output.token_ids == alone(fake, [3, 4])[: len(output.token_ids)] != []
    assert llm.add_request([9], DRAWN, gone) == gone
    chunks = llm.step()
    assert [chunk.token_ids for chunk in chunks if chunk.request_id == gone] == [alone(fake, [9])[:1]]
    assert {chunk.request_id for chunk in chunks} == {gone, stays}


def test_a_request_that_ended_before_its_caller_was_cut_is_shown_to_nobody(fake, monkeypatch):
    """Would catch chunks under an id that nobody was given: whoever is cut while handing in asks for the id again, and
    meanwhile other threads have computed the first request to its end."""
    llm, prompt, params = LLM(fake, **OPTIONS), [1, 2, 3], SamplingParams(temperature=0, max_tokens=3, ignore_eos=True)
    expected = llm.generate([prompt], params)[0].token_ids
    insert = type(llm)._insert
    monkeypatch.setattr(type(llm), "_insert", lambda self, request: insert(self, request) or cut.append(request))
    monkeypatch.setattr(llm, "_lock", ServedBeforeTheCut(llm, cut := []))
    with pytest.raises(KeyboardInterrupt):
        llm.add_request(prompt, params, "a")
    assert cut[0].is_finished
    llm.add_request(prompt, params, "a")
    assert [token_id for _ in range(9) for chunk in llm.step() for token_id in chunk.token_ids] == expected


class ServedBeforeTheCut:
    """An engine's lock. Who leaves it after handing in is cut, when others have already computed what was handed in."""

    def __init__(self, llm: LLM, handed_in: list) -> None:
        self.llm, self.lock, self.handed_in, self.is_first = llm, llm._lock, handed_in, True

    def __enter__(self):
        self.lock.acquire()

    def __exit__(self, *error):
        self.lock.release()
        if self.handed_in and self.is_first and not self.llm._writing.gi_running:
            self.is_first = False
            self.llm.generate([[7, 8]], SamplingParams(temperature=0, max_tokens=9, ignore_eos=True))
            raise KeyboardInterrupt


@pytest.mark.parametrize("overlap", [False, True])
def test_a_stream_goes_on_behind_a_step_that_was_cut(fake, overlap):
    """Would catch a stream that takes what a cut step gave before it is known how far its requests are: tokens came
    twice, and an answer that had ended went on in place of another one."""
    prompts, lengths = [[3, 4], [5, 6]], [3, 6]
    right = {n: fake[0].greedy(prompts[n], lengths[n]) for n in range(2)}
    many = [SamplingParams(temperature=0, max_tokens=n, ignore_eos=True) for n in lengths]
    num_cuts = 0
    for num_steps in (1, 2, 3):  # in one of them a request ends
        for place in count(1):
            llm = LLM(fake, **OPTIONS, overlap=overlap)
            chunks = [next(stream := llm.stream(prompts, many)), next(stream)]
            for _ in range(num_steps - 1):
                llm.step()
            with CutAt(place, only=("_deliver", "_forget")) as cut, suppress(KeyboardInterrupt):
                llm.step()
            chunks += stream
            got = {n: [token for chunk in chunks if chunk.index == n for token in chunk.token_ids] for n in range(2)}
            assert got == right, f"cut at line {place}"
            assert {chunk.index: chunk.output.token_ids for chunk in chunks if chunk.output} == right
            llm.check_integrity()
            num_cuts += cut.count >= place
            if cut.count < place:
                break
    assert num_cuts > 20


class CallAt(CutAt):
    """Instead of a cut: the engine is used, as the handler of a signal does it there, unless a step is being made."""

    def __init__(self, number: int, use: Callable[[LLM], None], llm: LLM) -> None:
        super().__init__(number, only=("_next_chunks", "<listcomp>"))
        self.use, self.llm = use, llm

    def act(self) -> None:
        with suppress(RuntimeError):
            self.use(self.llm)


USES = {
    "abort": lambda llm: llm.abort("request-1"),
    "step": lambda llm: llm.step(),
    "generate": lambda llm: llm.generate([9], DRAWN),
}


@pytest.mark.parametrize("use", ["abort", "step", "generate"])
def test_a_handler_that_uses_the_engine_while_a_stream_takes_its_chunks(fake, use):
    """Would catch chunks that come while others are taken, and are thrown away: an answer with a gap, or a stream that
    waits for ever for an end that it had."""
    params, prompts = SamplingParams(temperature=0, max_tokens=6, ignore_eos=True), [[3, 4], [5, 6]]
    right = {n: fake[0].greedy(prompt, 6) for n, prompt in enumerate(prompts)}
    for place in count(1):
        llm = LLM(fake, **OPTIONS)
        chunks = [next(stream := llm.stream(prompts, params)), next(stream)]
        with CallAt(place, USES[use], llm) as at:
            chunks.append(next(stream))
        chunks += islice(stream, 50)
        got = {n: [token for chunk in chunks if chunk.index == n for token in chunk.token_ids] for n in range(2)}
        ends = [chunk.output.finish_reason for chunk in chunks if chunk.output]
        assert len(ends) == 2, f"called at line {place}"
        assert got == right | ({1: right[1][: len(got[1])]} if "abort" in ends else {}), f"called at line {place}"
        if at.count < place:
            break
    assert place > 4


def test_a_cut_while_the_array_of_tables_grows(fake):
    """Would catch an array that is larger already and not filled yet, which the next step believes."""
    params, right = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True), fake[0].greedy([3], 8)
    for place in count(1):
        llm = LLM(fake, block_size=1, num_blocks=20)
        llm.add_request([3], params)
        with CutAt(place, only=("_grow",)) as cut:
            assert [token for _ in range(9) for chunk in again(llm.step) for token in chunk.token_ids] == right
        if cut.count < place:
            break
    assert place > 20


def test_a_cut_while_the_tables_of_a_step_are_chosen():
    """Would catch pages that are shared in a step that was cut, and are read for the sequences of the next."""
    tables = {"a": [3, 1], "b": [5, 2], "c": [5, 4]}
    kv, starts, both = SimpleNamespace(block_size=4, block_tables=tables), np.array([8, 8, 8]), {"a": True, "b": True}
    for place in count(1):
        rows = TableRows(kv, least_saved=1)
        rows.choose(both, starts[:2])
        assert not rows.shared
        with CutAt(place, only=("choose", "<dictcomp>")) as cut, suppress(KeyboardInterrupt):
            rows.choose({"a": True, "b": True, "c": False}, starts)
        is_cut = cut.count >= place
        assert is_cut or [shared.members.tolist() for shared in rows.shared] == [[1, 2]]
        rows.choose(both, starts[:2])
        assert not rows.shared, f"cut at line {place}"
        assert rows.of(starts[:2] - 1, 2).tolist() == [[3, 1], [5, 2]]
        if not is_cut:
            break
    assert place > 8


@pytest.mark.parametrize(("block_size", "num_blocks", "num_known"), [(1, 20, 8), (2, 11, 8), (3, 9, 12)])
def test_a_request_that_is_preempted_for_a_step_that_is_cut(fake, block_size, num_blocks, num_known, monkeypatch):
    """Would catch a request that reads the pages it had: it lost them for a step that was never computed, and came back
    in the next with others, as if it had been there all along."""
    tokens, params = (
        [3, 4, 5, *fake[0].greedy([3, 4, 5], 20)],
        SamplingParams(temperature=0, max_tokens=8, ignore_eos=True),
    )
    llm = LLM(fake, block_size=block_size, num_blocks=num_blocks)
    llm.generate([tokens[:3]], SamplingParams(temperature=0, max_tokens=num_known - 3, ignore_eos=True))
    launch, cuts = llm.runner.launch, []

    def cut(*arguments):
        if llm.scheduler.preempted and not cuts:
            cuts.append(True)
            raise KeyboardInterrupt
        return launch(*arguments)

    monkeypatch.setattr(llm.runner, "launch", cut)
    # The first keeps in the cache what the second is about to compute once more.
    got = {llm.add_request(tokens[:n], params): (n, []) for n in (num_known, 3)}
    while llm.has_unfinished_requests:
        for chunk in again(llm.step):
            got[chunk.request_id][1].extend(chunk.token_ids)
    assert cuts
    for begin, token_ids in got.values():
        assert token_ids == tokens[begin : begin + 8]
    llm.check_integrity()


def test_the_interrupt_of_one_stream_is_not_that_of_another(fake, monkeypatch):
    """Would catch a stream that waits for ever, or ends, because Ctrl-C hit while another one made the step."""
    llm = LLM(fake, **OPTIONS)
    kept, cut = llm.stream([3, 4], DRAWN), llm.stream([5, 6], DRAWN)
    number = llm.add_request([7, 8], DRAWN)
    chunks = [next(kept)]
    next(cut)
    for name in ("append", "finish"):  # in `_take`, and in the bookkeeping of an end
        with monkeypatch.context() as cutting:
            cutting.setattr(engine_module.Request, name, interrupted)
            with pytest.raises(KeyboardInterrupt):
                next(cut)
        assert len(llm._requests) <= 3
        cut = llm.stream([9], SamplingParams(temperature=0, max_tokens=1))
    chunks += list(kept)
    assert chunks[-1].output.token_ids == alone(fake, [3, 4])
    assert [token for chunk in chunks for token in chunk.token_ids] == chunks[-1].output.token_ids
    rest = [chunk for _ in range(20) for chunk in llm.step()]
    assert {chunk.request_id for chunk in rest} == {number}
    assert rest[-1].output.token_ids == alone(fake, [7, 8])


def interrupted(*arguments, **options):
    raise KeyboardInterrupt


def alone(fake, tokens) -> list[int]:
    return LLM(fake, **OPTIONS).generate(tokens, DRAWN)[0].token_ids


@pytest.mark.parametrize("place", ["schedule", "model", "take"])
def test_a_forgotten_stream_may_be_collected_in_the_middle_of_a_step(fake, place, monkeypatch):
    """Would catch pages that are given back while a step counts on them: it ended everyone."""
    llm = LLM(fake, **OPTIONS)
    forgotten = [llm.stream([[5, 6], [9, 8, 7]], DRAWN)]
    next(forgotten[0])
    mine = llm.add_request([3, 4], DRAWN)
    owner, name = {
        "schedule": (engine_module.Scheduler, "schedule"),
        "model": (engine_module.ModelRunner, "launch"),
        "take": (engine_module.Request, "append"),
    }[place]
    original = getattr(owner, name)

    def collecting(*arguments):
        forgotten.clear()
        return original(*arguments)

    monkeypatch.setattr(owner, name, collecting)
    chunks = llm.step()
    assert not forgotten
    chunks += llm.step()
    assert list(llm._requests) == [mine]
    llm.check_integrity()
    while llm.has_unfinished_requests:
        chunks += llm.step()
    assert chunks[-1].output.token_ids == alone(fake, [3, 4])


def test_a_forgotten_stream_may_be_collected_before_a_change_begins(fake, monkeypatch):
    """Would catch a change that is not made, because another came between its being set up and its beginning: a request
    was lost, with a StopIteration for whoever handed it in."""
    llm = LLM(fake, **OPTIONS)
    forgotten = [llm.stream([[5, 6], [9, 8, 7]], DRAWN)]
    next(forgotten[0])

    class Collecting:
        def __get__(self, engine, kind=None):
            return vars(engine)["_writing"]

        def __set__(self, engine, change):
            vars(engine)["_writing"] = change
            forgotten.clear()

    monkeypatch.setattr(engine_module.Engine, "_writing", Collecting(), raising=False)
    mine = llm.add_request([3, 4], DRAWN)
    assert not forgotten
    chunks = llm.step()
    assert list(llm._requests) == [mine]
    while llm.has_unfinished_requests:
        chunks += llm.step()
    assert chunks[-1].output.token_ids == alone(fake, [3, 4])
    llm.check_integrity()


def test_a_call_from_inside_a_step_is_refused_and_changes_nothing(fake, monkeypatch):
    """Would catch a step in a step, as from a signal's handler: both would give the same pages away."""
    llm = LLM(fake, **OPTIONS)
    mine = llm.add_request([3, 4], DRAWN)
    original, said = engine_module.ModelRunner.launch, []

    def calling(*arguments):
        for call in (
            llm.step,
            lambda: llm.abort(mine),
            lambda: llm.add_request([1]),
            lambda: llm.generate([1]),
            lambda: next(llm.stream([1])),
        ):
            with pytest.raises(RuntimeError, match="inside one of its own steps"):
                call()
            said.append(call)
        return original(*arguments)

    monkeypatch.setattr(engine_module.ModelRunner, "launch", calling)
    chunks = llm.step()
    monkeypatch.undo()
    assert len(said) == 5
    assert list(llm._requests) == [mine]
    while llm.has_unfinished_requests:
        chunks += llm.step()
    assert chunks[-1].output.token_ids == alone(fake, [3, 4])
    llm.check_integrity()


def test_a_consumer_may_use_the_engine_between_two_chunks(fake):
    """Would catch a lock that a stream keeps while its consumer works."""
    llm = LLM(fake, **OPTIONS)
    right = alone(fake, [5, 6])
    for chunk in llm.stream([3, 4], DRAWN):
        assert llm.generate([5, 6], DRAWN)[0].token_ids == right
        llm.check_integrity()
        last = chunk
    assert last.output.token_ids == alone(fake, [3, 4])


# Threads


def test_eight_threads(fake):
    """Would catch threads that take each other's chunks, steps or pages; one that waits while another one is served."""
    llm = LLM(fake, **{**OPTIONS, "num_blocks": 24, "max_num_seqs": 6, "max_num_batched_tokens": 24})
    right = {n: alone(fake, [n, n + 1, n + 2]) for n in range(1, 50)}
    problems, start = [], time.monotonic()

    def enough() -> bool:  # on a busy machine some thread may have had no turn in three seconds
        return time.monotonic() - start > (3 if min(done) else 60)

    def work(number: int) -> None:
        rng = random.Random(number)
        try:
            while not enough() and not problems:
                ns = [rng.randrange(1, 50) for _ in range(rng.randrange(1, 4))]
                prompts, how = [[n, n + 1, n + 2] for n in ns], rng.randrange(4)
                if how == 0:
                    assert [output.token_ids for output in llm.generate(prompts, DRAWN)] == [right[n] for n in ns]
                elif how == 1:
                    got = {index: [] for index in range(len(ns))}
                    for chunk in llm.stream(prompts, DRAWN):
                        got[chunk.index] += chunk.token_ids
                    assert list(got.values()) == [right[n] for n in ns]
                elif how == 2:
                    stream = llm.stream(prompts, DRAWN)
                    next(stream)
                    stream.close()
                else:
                    chunk = next(stream := llm.stream(prompts[0], DRAWN))
                    with suppress(KeyError):  # it may have ended
                        llm.abort(chunk.request_id)
                    assert (chunk.output or list(stream)[-1].output).finish_reason in ("abort", "length")
                done[number] += 1
        except BaseException as error:
            problems.append(error)

    done = [0] * 8
    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "a thread waits for ever"
    assert not problems, problems
    assert min(done) > 0
    assert llm.step() == []
    llm.check_integrity()
    assert not llm.has_unfinished_requests


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_that_is_forked_in_the_middle_of_a_step(fake):
    """Would catch a child that waits for ever for a thread that it does not have: one with a lock, or PyTorch's own."""
    llm = LLM(fake, **OPTIONS)
    num_threads, many = torch.get_num_threads(), torch.ones(10**6)  # so many that threads share them
    torch.set_num_threads(2)
    many.add(1)
    right = llm.generate([[3, 4, 5]], DRAWN)[0].token_ids
    inside, go_on, run = threading.Event(), threading.Event(), llm.runner.launch

    def slowly(*arguments):
        inside.set()
        assert go_on.wait(60)
        return run(*arguments)

    llm.runner.launch = slowly
    thread = threading.Thread(target=llm.generate, args=([[6, 7]], DRAWN))
    thread.start()
    assert inside.wait(60)
    if (child := os.fork()) == 0:
        signal.alarm(60)  # ends it if it waits for ever
        llm.runner.launch = run
        many.add(1)
        os._exit(0 if llm.generate([[3, 4, 5]], DRAWN)[0].token_ids == right else 1)
    try:
        assert os.waitpid(child, 0)[1] == 0
    finally:
        go_on.set()
        thread.join()
        torch.set_num_threads(num_threads)
    llm.runner.launch = run
    assert llm.generate([[3, 4, 5]], DRAWN)[0].token_ids == right
