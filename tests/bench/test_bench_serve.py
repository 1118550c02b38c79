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
