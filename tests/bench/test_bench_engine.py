import time

import pytest
import torch

from yaie.bench import __main__ as command
from yaie.bench import engine
from yaie.engine.llm import LLM
from yaie.models.loader import load_model


@pytest.fixture(scope="module")
def tiny() -> tuple:
    return load_model("tiny")


def test_workload_is_the_stated_one():
    """Would catch a benchmark of something else: 1,000 shared tokens and 16 of each request's own."""
    prompts = engine.make_prompts(64)
    assert {len(tokens) for tokens in prompts} == {1016}
    assert len({tuple(tokens[:1000]) for tokens in prompts}) == 1
    assert len({tuple(tokens[:1001]) for tokens in prompts}) > 50
    assert min(min(tokens) for tokens in prompts) > 5


def test_both_sides_do_the_same_work(tiny):
    """Would catch a ratio to something that generates fewer tokens or other ones."""
    prompts = engine.make_prompts(3, prefix=40)
    ours = engine.engine_generate(LLM(tiny), prompts, 12)
    theirs = engine.transformers_generate(engine.load_transformers(), prompts, 12)
    assert [len(tokens) for tokens in ours] == [len(tokens) for tokens in theirs] == [12] * 3
    assert engine.agreement(ours, theirs) == 1


def test_agreement_counts_up_to_the_first_difference():
    """Would catch tokens that agree by chance after texts have parted."""
    assert engine.agreement([[1, 2, 3, 4], [5, 6, 7, 8]], [[1, 9, 3, 4], [5, 6, 7, 8]]) == 5 / 8


def test_first_tokens_come_later_without_reuse(tiny):
    """Would catch a measurement that does not see the work that reuse saves (in tokens, not in time)."""
    prompts = engine.make_prompts(4, prefix=64)
    computed = {}
    for reuse in (True, False):
        llm = LLM(tiny, prefix_cache=reuse)
        assert len(engine.first_token_times(llm, prompts, time.perf_counter)) == 4
        computed[reuse] = llm.stats()["computed_tokens"]
    assert computed == {True: 64 + 4 * 16, False: 4 * 80}


def test_the_split_adds_up_and_leaves_the_engine_as_it_was(tiny):
    """Would catch parts that are counted twice or not at all, and timers that stay in the shared model."""
    llm = LLM(tiny)
    before = (llm.runner.model, llm.model.logits)
    split = engine.split_of_a_step(llm, engine.make_prompts(3, prefix=8), 6, time.perf_counter)
    whole = split.pop("whole step")
    assert sum(split.values()) == pytest.approx(whole)
    assert all(seconds > 0 for seconds in split.values())
    assert (llm.runner.model, llm.model.logits) == before
    assert not llm.has_unfinished_requests


def test_the_command_runs_and_shows_its_facts(capsys):
    """Would catch a benchmark that breaks, or numbers without device, date, versions, command and spread."""
    threads = torch.get_num_threads()
    assert command.main(["engine", "--requests", "2", "--repeats", "2", "--prefix", "20"]) == 0
    torch.set_num_threads(threads)
    shown = capsys.readouterr().out
    for part in ("device:", "date:", "transformers 5", "python -m yaie.bench engine --requests 2", "whole step"):
        assert part in shown
