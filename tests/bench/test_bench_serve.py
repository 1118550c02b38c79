"""The serving benchmark: the workload is the published one, and every request is served."""

from dataclasses import replace

import pytest
import torch

from yaie.bench import serve
from yaie.engine.sampling_params import SamplingParams


def test_workload_is_nano_vllms():
    """Would catch a load that is easier than the one whose numbers others have published."""
    prompts, params = serve.workload(256, 151936)
    assert sum(each.max_tokens for each in params) == 133_966
    assert 100 <= min(map(len, prompts)) < max(map(len, prompts)) <= 1024


def test_random_weights_in_a_given_shape(monkeypatch):
    """Would catch output weights that are no longer tied: another model than the one that is named."""
    config = replace(
        serve.SHAPES["qwen3-0.6b"], num_layers=1, vocab_size=300, hidden_size=64, num_heads=2, num_kv_heads=1
    )
    monkeypatch.setitem(serve.SHAPES, "small", config)
    model = serve.make_model("small", torch.bfloat16, "cpu")[0]
    assert model.lm_head is model.embed_tokens.weight
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    assert model.inv_freq.dtype == torch.float32


def test_least_bytes(monkeypatch):
    """Would catch untied embeddings that count, and a token that comes from the prompt and reads a context."""
    shape = {"num_layers": 2, "vocab_size": 300, "hidden_size": 64, "num_heads": 2, "num_kv_heads": 1, "head_dim": 32}
    for tied in (True, False):
        config = replace(serve.SHAPES["llama-3-8b"], intermediate_size=8, tie_word_embeddings=tied, **shape)
        monkeypatch.setitem(serve.SHAPES, "small", config)
        model = serve.make_model("small", torch.bfloat16, "cpu")
        weights = 2 * (300 * 64 + 64 + 2 * (64 * 128 + 64 * 64 + 3 * 64 * 8 + 2 * 64))
        assert serve.least_bytes(model, [10, 7], [3, 1]) == 3 * weights + (11 + 12) * 2 * 2 * 32 * 2


def test_it_runs_and_reports(capsys):
    """Would catch requests that failed and still count as fast, and a ratio that is not to the first variant."""
    serve.main(
        [
            "--shape",
            "tiny",
            "--requests",
            "3",
            "--longest",
            "101",
            "--backend",
            "torch",
            "--variants",
            "engine",
            "no-graphs",
        ]
    )
    out = capsys.readouterr().out
    assert "3 requests" in out
    names, _, *rows = [line.split() for line in out[out.index("3 requests") :].splitlines()[1:] if line]
    assert [row[0] for row in rows] == ["engine", "no-graphs"]
    rows = [dict(zip(names, row[1:], strict=True)) for row in rows]
    for row in rows:
        assert 300 <= int(row["generated_tokens"]) <= 303
        assert float(row["tokens_per_second"].replace(",", "")) > 0
    assert rows[0]["speed"] == "1.00"
    ratio = float(rows[0]["seconds"]) / float(rows[1]["seconds"])
    assert abs(float(rows[1]["speed"]) - ratio) < 0.5


def test_one_run_counts_its_own_load_only():
    """Would catch the warm-up in the counts, and requests that were refused and make the engine look fast."""
    model = serve.make_model("tiny", torch.float32, "cpu")
    params = [SamplingParams(temperature=0, max_tokens=4, ignore_eos=True)] * 2
    counted = serve.run(model, "torch", "auto", [[5, 6, 7], [8]], params)
    assert (counted["backend"], counted["cuda_graphs"]) == ("torch", False)
    assert (counted["generated_tokens"], counted["steps"], counted["preemptions"]) == (8, 4, 0)
    assert counted["tokens_per_second"] == 8 / counted["seconds"]
    with pytest.raises(RuntimeError, match=r"^1 of 2 requests failed, the first with: .*token 0 of the prompt"):
        serve.run(model, "torch", "auto", [[5], [model[1].vocab_size]], params)


def test_the_workload_is_as_asked():
    """Would catch a temperature or a length that the command takes and the load does not have."""
    prompts, params = serve.workload(50, 300, temperature=0.5, longest=102)
    assert {each.temperature for each in params} == {0.5}
    assert {each.max_tokens for each in params} == {100, 101, 102} == set(map(len, prompts))
    assert {token < 300 for prompt in prompts for token in prompt} == {True}


@pytest.mark.parametrize(
    ("variant", "options"), [("engine", {}), ("no-graphs", {"graphs": False}), ("torch", {"backend": "torch"})]
)
def test_a_variant_is_what_its_name_says(monkeypatch, variant, options):
    """Would catch a comparison of an engine with itself."""
    seen = {}

    def engine(model, **options):
        seen.update(options)
        raise InterruptedError

    monkeypatch.setattr(serve, "LLM", engine)
    model = serve.make_model("tiny", torch.float32, "cpu")
    with pytest.raises(InterruptedError):
        serve.run(model, variant, "auto", [[5]], [])
    assert {name: seen[name] for name in ("backend", "graphs") if name in seen} == {"backend": "auto"} | options
