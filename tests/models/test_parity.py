"""The decoder against transformers, on small random models of every family, loaded through real folders."""

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from yaie.models.config import ModelConfig, UnsupportedModelError
from yaie.models.llama import generate_greedy
from yaie.models.loader import load_weights

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,  # so short that 50 positions feel the scaling
}
SIZES = {
    "vocab_size": 131,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
MODELS = {
    "llama 2: no grouping": ("llama", {"num_key_value_heads": 4, "tie_word_embeddings": False}),
    "llama 3: scaled positions, tied": ("llama", {"rope_parameters": LLAMA3, "tie_word_embeddings": True}),
    "llama: biases everywhere": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama: linear positions": (
        "llama",
        {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 10000.0}},
    ),
    "mistral: head_dim of its own": ("mistral", {"head_dim": 24, "sliding_window": None}),
    "mistral: a window that hides nothing": ("mistral", {"sliding_window": 512}),
    "qwen2: bias, tied, 7 heads to a group": (
        "qwen2",
        {"hidden_size": 112, "num_attention_heads": 14, "num_key_value_heads": 2, "tie_word_embeddings": True},
    ),
    "qwen3: norms of query and key": ("qwen3", {"head_dim": 32, "num_key_value_heads": 1}),
    "qwen3: bias": ("qwen3", {"head_dim": 32, "attention_bias": True}),
    "llama: dynamic positions": (
        "llama",
        {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0}},
    ),
    "qwen2: a window that is switched off": ("qwen2", {"use_sliding_window": False, "sliding_window": 16}),
    "qwen2: a window that touches no layer": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 2},
    ),
    "qwen3: a window that touches no layer": (
        "qwen3",
        {
            "head_dim": 32,
            "use_sliding_window": True,
            "sliding_window": 16,
            "max_window_layers": 0,
            "layer_types": ["full_attention"] * 2,
        },
    ),
}
# What people do to a folder, and may: nothing of it changes a number. Changes to its config.json, and to its tensors.
SPELLINGS = {
    "the dtype under its old name": ({"dtype": None, "torch_dtype": "bfloat16"}, None),
    "the dtype under its new name": ({"dtype": "float16"}, None),
    "positions as transformers 4 wrote them": (
        {"rope_parameters": None, "rope_theta": 500000.0, "rope_scaling": {**LLAMA3, "type": "llama3"}},
        None,
    ),
    "positions written twice": ({"rope_theta": 500000.0, "rope_scaling": LLAMA3}, None),
    "no architecture": ({"architectures": None}, None),
    "names without model.": ({}, lambda name: name.removeprefix("model.")),
    "names of a compiled model": ({}, lambda name: f"_orig_mod.{name}"),
    "names of a model in a wrapper": ({}, lambda name: f"module.{name}"),
    "frequencies among the weights": ({}, {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(8)}),
}


def random_model(family, fields, seed=0):
    """A model of transformers with all weights random: fresh ones have norms of 1 and biases of 0."""
    torch.manual_seed(seed)
    config = transformers.AutoConfig.for_model(family, **{**SIZES, **fields})
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    for name, parameter in model.named_parameters():
        with torch.no_grad():
            noise = torch.randn_like(parameter)
            parameter.copy_(1 + 0.2 * noise if "norm" in name else 0.15 * noise)
    return model


def change(folder, fields, names):
    """Write other fields, and tensors under other names (or with others beside them), into a folder."""
    config = json.loads((folder / "config.json").read_text()) | fields
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))
    tensors = load_file(folder / "model.safetensors")
    if isinstance(names, dict):
        tensors |= names
    elif names:
        tensors = {names(name): tensor for name, tensor in tensors.items()}
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("case", SPELLINGS)
def test_spellings_of_one_model(case, tied, tmp_path):
    """Catches folders that are refused, or read as another model, for how they are written.

    Brothers: two names of the dtype, three places of theta and scaling, no architecture, prefixes of wrappers and no
    prefix, stored frequencies; each with a head of its own and without.
    """
    theirs = random_model("llama", {"rope_parameters": LLAMA3, "tie_word_embeddings": tied})
    theirs.save_pretrained(tmp_path)
    change(tmp_path, *SPELLINGS[case])
    ours = load_weights(tmp_path, ModelConfig.from_folder(tmp_path))
    token_ids = torch.arange(50)
    with torch.no_grad():
        torch.testing.assert_close(ours.forward_naive(token_ids), theirs(token_ids[None]).logits[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("kept", ["lm_head.weight", "model.embed_tokens.weight"])
def test_a_tied_head_under_either_name(kept, tmp_path):
    """Catches folders in which only one of two equal tensors was stored, whichever it was."""
    theirs = random_model("llama", {"tie_word_embeddings": True})
    theirs.save_pretrained(tmp_path)
    change(tmp_path, {}, lambda name: name.replace("model.embed_tokens.weight", kept))
    ours = load_weights(tmp_path, ModelConfig.from_folder(tmp_path))
    assert ours.lm_head is ours.embed_tokens.weight
    torch.testing.assert_close(ours.lm_head, theirs.lm_head.weight, rtol=0, atol=0)


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_shards_of_every_family(family, tmp_path):
    """Catches a loader that reads the first shard only, or that needs what one family names otherwise."""
    theirs = random_model(family, {"sliding_window": None} if family == "mistral" else {})
    theirs.save_pretrained(tmp_path, max_shard_size="60KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    ours = load_weights(tmp_path, ModelConfig.from_folder(tmp_path))
    token_ids = torch.arange(50)
    with torch.no_grad():
        torch.testing.assert_close(ours.forward_naive(token_ids), theirs(token_ids[None]).logits[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("family", "fields"),
    [
        ("qwen2", {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1}),
        ("qwen3", {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 0}),
        ("mistral", {"sliding_window": 16}),
    ],
)
def test_windows_that_hide_something_are_refused(family, fields, tmp_path):
    """Catches text that is right until it is longer than a window."""
    transformers.AutoConfig.for_model(family, **{**SIZES, **fields}).save_pretrained(tmp_path)
    fields = json.loads((tmp_path / "config.json").read_text()) | {"architectures": [f"{family.title()}ForCausalLM"]}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    with pytest.raises(UnsupportedModelError, match=r"sliding_window|sliding_attention"):
        ModelConfig.from_folder(tmp_path)


@pytest.mark.parametrize("case", MODELS)
def test_same_logits_and_greedy_tokens(case, tmp_path):
    """Catches a swapped projection, a missing bias or norm, wrong grouping of heads, wrong positions or scaling."""
    theirs = random_model(*MODELS[case])
    theirs.save_pretrained(tmp_path)
    ours = load_weights(tmp_path, ModelConfig.from_folder(tmp_path))
    token_ids = torch.randint(SIZES["vocab_size"], (50,))
    with torch.no_grad():
        expected = theirs(token_ids[None]).logits[0]
    assert expected.std() > 0.5  # else a tolerance of 1e-4 would prove little
    torch.testing.assert_close(ours.forward_naive(token_ids), expected, rtol=0, atol=1e-4)
    everything = torch.ones(1, len(token_ids))  # else generate takes a token 0 in the prompt for padding
    greedy = theirs.generate(
        token_ids[None],
        attention_mask=everything,
        max_new_tokens=20,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    assert generate_greedy(ours, token_ids.tolist(), 20) == greedy[0, 50:].tolist()
