"""The serving benchmark: the workload is the published one, and every request is served."""

from dataclasses import replace

import torch

from yaie.bench import serve


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


def test_it_runs_and_reports(capsys):
    """Would catch requests that failed and still count as fast."""
    serve.main(["--shape", "tiny", "--requests", "3", "--longest", "101", "--backend", "torch"])
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if "  " in line)
    assert lines["requests"] == "3"
    assert 300 <= int(lines["generated_tokens"]) <= 303
    assert float(lines["tokens_per_second"].replace(",", "")) > 0
