"""The learner's solved functions in the serving engine, on a model whose right answers are known."""

import runpy
from pathlib import Path

import pytest
import torch

import yaie
from yaie import SamplingParams
from yaie.course import generate, parts
from yaie.kernels import radix_tree
from yaie.kernels.kv_cache import KVCacheManager

GREEDY = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)
OPTIONS = {"block_size": 4, "num_blocks": 64, "max_num_seqs": 8, "max_num_batched_tokens": 32}
ENGINE = runpy.run_path(str(Path(__file__).parents[1] / "engine" / "conftest.py"))


@pytest.fixture
def fake():
    model = ENGINE["FakeModel"]()
    return model, model.config, ENGINE["FakeTokenizer"]()


def prompt(length: int, seed: int) -> list[int]:
    return torch.randint(1, 61, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def test_other_parts_are_refused(fake):
    """Would catch a misspelt option that is ignored."""
    with pytest.raises(ValueError, match="mine"):
        yaie.LLM(fake, parts="mine")


@pytest.fixture
def solved(tmp_path, monkeypatch):
    """A folder in which exercises 1.1 and 2.2 are written, and a record that says that they have passed."""
    generate.write(tmp_path, solved=True)
    monkeypatch.setenv("YAIE_EXERCISES_DIR", str(tmp_path))
    monkeypatch.setattr(parts, "passed_parts", lambda: ["1.1", "2.2"])
    return tmp_path


def test_solved_exercises_run_in_the_engine_and_only_there(fake, solved):
    """Would catch an engine that says it runs the learner's code and does not, or never stops doing it."""
    before = (radix_tree.match_prefix, KVCacheManager.allocate_blocks)
    llm, seen = yaie.LLM(fake, **OPTIONS, parts="exercises"), set()
    forward = llm.runner.model

    def watching(batch, kv, *rest):
        seen.add((radix_tree.match_prefix.__code__.co_filename, KVCacheManager.allocate_blocks.__code__.co_filename))
        return forward(batch, kv, *rest)

    llm.runner.model, watching.logits = watching, forward.logits
    tokens = prompt(9, seed=1)
    assert llm.generate(tokens, GREEDY)[0].token_ids == fake[0].greedy(tokens, 12)
    streamed = [token for chunk in llm.stream(tokens, GREEDY) for token in chunk.token_ids]
    assert streamed == fake[0].greedy(tokens, 12)
    assert seen == {(str(solved / "01_radix_tree.py"), str(solved / "02_kv_cache.py"))}
    assert (radix_tree.match_prefix, KVCacheManager.allocate_blocks) == before
    yours = {line.split()[1] for line in str(llm.parts).splitlines() if " yours " in line}
    assert yours == {"1.1", "2.2"}
    assert " yours " not in str(yaie.LLM(fake, **OPTIONS).parts)


def test_a_mistake_in_an_exercise_is_named_and_the_engine_lives_on(fake, solved):
    """Would catch a learner's exception that kills the engine, or an error that does not say where it was raised."""
    file = solved / "01_radix_tree.py"
    text = file.read_text()
    mistake = "\n\ndef match_prefix(root, tokens, page_size=1):\n    return root.mistake\n"
    file.write_text(text + mistake)
    llm = yaie.LLM(fake, **OPTIONS, parts="exercises")
    output = llm.generate(prompt(9, seed=1), GREEDY)[0]
    assert output.finish_reason == "error"
    assert "01_radix_tree.py" in output.error
    assert "in match_prefix" in output.error
    file.write_text(text)
    assert llm.generate(prompt(9, seed=1), GREEDY)[0].finish_reason == "length"
    llm.check_integrity()
