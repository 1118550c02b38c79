"""Recorded decode steps give what the steps themselves give, and step aside when their code is replaced."""

import gc
import weakref

import pytest
import torch

from yaie.engine import cpu_graph
from yaie.engine.llm import LLM
from yaie.engine.sampling_params import SamplingParams
from yaie.kernels import radix_attention
from yaie.models import llama
from yaie.models.config import ModelConfig

SMALL = {
    "vocab_size": 120,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_layers": 2,
    "num_heads": 6,
    "num_kv_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
}
CONFIGS = {
    "llama": ModelConfig(**SMALL),
    "qwen3": ModelConfig(**SMALL, qk_norm=True, tie_word_embeddings=True, architecture="Qwen3ForCausalLM"),
}
PARAMS = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True, logprobs=3)
PROMPT = [5, 90, 33, 7, 7, 64]


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Record after two steps."""
    monkeypatch.setattr(cpu_graph, "RECORD_AFTER", 2)


def model_of(name, dtype=torch.float32):
    torch.manual_seed(1)
    return llama.Llama(CONFIGS[name]).to(dtype), CONFIGS[name], None


def answer(llm, prompt=PROMPT):
    (output,) = llm.generate(prompt, PARAMS)
    return output.token_ids, output.logprobs


TOLERANCES = {torch.float32: 2e-5, torch.float64: 1e-6}  # the logits are float32 in any case


def same(got, expected, tolerance=2e-5):
    assert got[0] == expected[0]
    for a, b in zip(got[1], expected[1], strict=True):
        assert a.logprob == pytest.approx(b.logprob, abs=tolerance)
        assert dict(a.top) == pytest.approx(dict(b.top), abs=tolerance)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", CONFIGS)
def test_the_same_tokens_and_the_same_numbers(name, dtype):
    """Would catch a recording in which a length, a page or a position is that of the step it was made from."""
    model = model_of(name, dtype)
    wanted = {n: answer(LLM(model, num_blocks=40, graphs=False), PROMPT * n) for n in (1, 4)}
    for block_size, num_blocks in ((16, 40), (1, 48)):  # all share the recording of the first
        llm = LLM(model, block_size=block_size, num_blocks=num_blocks)
        for n, expected in wanted.items():
            same(answer(llm, PROMPT * n), expected, TOLERANCES[dtype])
        assert llm.runner.graphs.recording.replay is not None


def count_calls(monkeypatch, holder, name):
    calls, original = [], getattr(holder, name)

    def counting(*args):
        calls.append(name)
        return original(*args)

    monkeypatch.setattr(holder, name, counting)
    return calls


@pytest.mark.parametrize(
    ("holder", "name"),
    [
        (radix_attention, "rotate"),
        (radix_attention, "_attend_decode"),
        (llama, "rms_norm"),
        (llama.DecoderBlock, "forward"),
    ],
)
def test_a_function_that_is_replaced_later_runs(holder, name, monkeypatch):
    """Would catch an exercise, or a bug that a test plants, that is in the engine and never runs."""
    llm = LLM(model_of("llama"), num_blocks=40)
    expected = answer(llm)
    with monkeypatch.context() as patch:
        calls = count_calls(patch, holder, name)
        same(answer(llm), expected)
        assert len(calls) >= PARAMS.max_tokens - 1
    calls = count_steps(monkeypatch, llm)
    same(answer(llm), expected)
    assert len(calls) == 1, "only the prompt is computed step by step again"


def count_steps(monkeypatch, llm):
    """The calls of the model that are no replays."""
    calls = count_calls(monkeypatch, llm.runner, "model")
    llm.runner.model.logits = llm.model.logits
    return calls


def test_what_is_no_decode_of_one_request_is_not_replayed(monkeypatch):
    """Would catch a prompt, or two requests, run by a recording that knows one token."""
    llm = LLM(model_of("llama"), num_blocks=40)
    answer(llm)
    calls = count_steps(monkeypatch, llm)
    llm.generate([PROMPT, PROMPT[::-1]], PARAMS)
    assert len(calls) == PARAMS.max_tokens


def test_a_recording_keeps_neither_pool_nor_model():
    """Would catch a recording that holds the memory of an engine that is gone."""
    model = model_of("llama")
    llm = LLM(model, num_blocks=40)
    answer(llm)
    assert llm.runner.graphs.recording.replay is not None
    pool, module = weakref.ref(llm.kv), weakref.ref(model[0])
    del llm
    gc.collect()
    assert pool() is None
    del model
    gc.collect()
    assert module() is None


def test_weights_that_change_later_count():
    """Would catch a recording that goes on with the weights, or in the dtype, that the model had."""
    model = model_of("llama")
    answer(LLM(model, num_blocks=40))
    model[0].layers[0].attention.qkv_proj.weight.mul_(-3)
    same(answer(LLM(model, num_blocks=40)), answer(LLM(model, num_blocks=40, graphs=False)))
    model[0].double()
    same(answer(LLM(model, num_blocks=40)), answer(LLM(model, num_blocks=40, graphs=False)))


def test_where_nothing_can_be_recorded_steps_run_as_usual(monkeypatch):
    """Would catch an engine that fails on a PyTorch without `torch.jit.trace`, or that tries it again at each step."""
    model, calls = model_of("llama"), []
    monkeypatch.setattr(torch.jit, "trace", lambda *args, **options: calls.append(1) or 1 / 0)
    with pytest.warns(RuntimeWarning, match="without a recording"):
        recorded = answer(LLM(model, num_blocks=40))
    same(recorded, answer(LLM(model, num_blocks=40, graphs=False)))
    assert len(calls) == 1


def test_other_models_and_half_precision_run_as_usual(fake):
    """Would catch a recording of something that it has not been tried with."""
    assert LLM(fake, num_blocks=8).runner.graphs is None
    assert LLM(model_of("llama", torch.bfloat16), num_blocks=8).runner.graphs is None
