"""Bugs planted into the engine show as wrong answers of the tiny model: so its right answers mean something.

Float32 on every device, so that the falls are those that were measured. Each is measured on problems chosen for it
(`yaie.bench.planted_bugs`), from 20 to 60 of them.
"""

import pytest
import torch

from yaie.bench import planted_bugs as bugs
from yaie.bench.planted_bugs import BUGS, SETUPS
from yaie.models.loader import load_model

LEAST = {"count among 8": 0.9}  # the others: 1.0


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """A model so small is not faster on two threads, and far slower when others use the CPU too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model():
    return load_model("tiny", torch.float32, "cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(scope="module")
def without(model) -> dict[str, float]:
    """What the engine gets right without a bug."""
    return {setup: bugs.answers_right(setup, model=model) for setup in SETUPS}


@pytest.mark.parametrize("setup", SETUPS)
def test_without_a_bug_the_answers_are_right(setup, without):
    """Would catch problems that the model cannot solve: they show nothing about an engine."""
    assert without[setup] >= LEAST.get(setup, 1.0)


@pytest.mark.parametrize("name", [name for name, bug in BUGS.items() if bug.fall])
def test_a_bug_shows_as_wrong_answers(name, without, model):
    """Would catch a bug that our problems cannot see: an engine could have it and pass every test on answers."""
    bug = BUGS[name]
    assert without[bug.setup] - bugs.answers_right(bug.setup, bug, model) >= bug.fall


@pytest.mark.parametrize("name", [name for name, bug in BUGS.items() if not bug.fall])
def test_two_bugs_have_no_effect(name, without, model):
    """Would catch RoPE that is not relative, and attention to pages before the query that depends on their order."""
    bug = BUGS[name]
    llm = bugs.engine(bug.setup, bug, model)
    changed = recorded_changes(llm)
    assert bugs.answers_right(bug.setup, llm=llm) == without[bug.setup]
    assert changed[name] > 40  # a step for each digit and the end, of each problem


def recorded_changes(llm) -> dict[str, int]:
    """How many sequences went through the model with shifted positions, and how many with exchanged pages."""
    counts = dict.fromkeys(("all positions + 1", "two pages exchanged on reading"), 0)
    run = llm.runner.model

    class Recorder:
        logits = run.logits

        def __call__(self, batch, kv, operations):
            tables = {tuple(table) for table in kv.block_tables.values()}
            rows = zip(batch.block_tables.tolist(), batch.lengths, batch.positions.split(batch.query_lens), strict=True)
            for table, length, positions in rows:
                used = tuple(table[: -(-length // bugs.BLOCK_SIZE)])
                counts["all positions + 1"] += int(positions[-1]) == length
                counts["two pages exchanged on reading"] += used not in tables and used[1::-1] + used[2:] in tables
            return run(batch, kv, operations)

    llm.runner.model = Recorder()
    return counts


def test_every_bug_of_the_table_is_planted():
    """Would catch a bug that is dropped from the list: those of positions, pages, chunks, slots, lengths and heads."""
    words = [
        "cached prefix", "each chunk", "position + 1", "position - 1", "stuck", "answer is lost", "answer is another",
        "random page is lost", "random page is another", "itself only", "last slot", "one token short", "KV head",
        "no causal mask", "no 1 / sqrt", "all positions + 1", "exchanged",
    ]  # fmt: skip
    assert not [word for word in words if not any(word in name for name in BUGS)]
