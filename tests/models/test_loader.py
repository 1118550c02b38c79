"""Folders as they come: in shards, in the words of two versions of transformers, damaged, and not for this decoder."""

import builtins
import json

import pytest
import torch
from safetensors.torch import save_file

from yaie.models.config import ModelConfig, UnsupportedModelError
from yaie.models.llama import Llama
from yaie.models.loader import TINY, find_folder, load_model, load_weights

FIELDS = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
}
TOKENS = torch.arange(20)


def config_of(**changes):
    return ModelConfig.from_dict({**FIELDS, **changes})


def random_weights(config, seed=0):
    """A checkpoint as Hugging Face stores it: the model's own names, nothing fused."""
    generator = torch.Generator().manual_seed(seed)
    views = Llama(config).checkpoint_views()
    return {name: torch.randn(view.shape, generator=generator) * 0.2 for name, view in views.items()}


def write(folder, weights, **changes):
    (folder / "config.json").write_text(json.dumps({**FIELDS, **changes}))
    save_file(weights, folder / "model.safetensors")
    return folder


def load(folder):
    return load_weights(folder, ModelConfig.from_folder(folder))


# --- weights ------------------------------------------------------------------------------------------------


def test_shards_are_read_as_one_checkpoint(tmp_path):
    """Catches a loader that reads the first shard only, or tensors by their order."""
    import transformers

    torch.manual_seed(0)
    theirs = transformers.AutoModelForCausalLM.from_config(
        transformers.LlamaConfig(**{name: FIELDS[name] for name in list(FIELDS)[2:]})
    )
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    with torch.no_grad():
        expected = theirs(TOKENS[None]).logits[0]
    torch.testing.assert_close(load(tmp_path).forward_naive(TOKENS), expected, rtol=0, atol=1e-4)


def test_every_weight_is_read_and_nothing_is_left_to_chance(tmp_path):
    """Catches parts of fused matrices that keep whatever was in memory: two loads would differ."""
    config = config_of(attention_bias=True, mlp_bias=True)
    weights = random_weights(config)
    folder = write(tmp_path, weights, attention_bias=True, mlp_bias=True)
    model = load(folder)
    for name, view in model.checkpoint_views().items():
        torch.testing.assert_close(view, weights[name], rtol=0, atol=0)
    assert sum(p.numel() for p in model.parameters()) == sum(w.numel() for w in weights.values())
    assert not any(p.requires_grad for p in model.parameters())


def test_tied_embeddings_are_one_tensor(tmp_path):
    """Catches twice the memory, and a head that is left uninitialised."""
    weights = random_weights(config_of(tie_word_embeddings=True))
    model = load(write(tmp_path, weights, tie_word_embeddings=True))
    assert model.lm_head is model.embed_tokens.weight
    copy = {**weights, "lm_head.weight": weights["model.embed_tokens.weight"].clone()}
    write(tmp_path, copy, tie_word_embeddings=True)
    load(tmp_path)
    copy["lm_head.weight"][3, 4] += 1
    write(tmp_path, copy, tie_word_embeddings=True)
    with pytest.raises(UnsupportedModelError, match=r"lm_head\.weight differs"):
        load(tmp_path)


def test_half_precision_is_kept_or_converted(tmp_path):
    """Catches weights that stay in the dtype of the file, and frequencies that are rounded with them."""
    weights = {name: w.bfloat16() for name, w in random_weights(config_of()).items()}
    folder = write(tmp_path, weights)
    wide = load_weights(folder, config_of(), torch.float32)
    half = load_weights(folder, config_of(), torch.bfloat16)
    assert (wide.dtype, half.dtype, half.inv_freq.dtype) == (torch.float32, torch.bfloat16, torch.float32)
    expected = wide.forward_naive(TOKENS)
    assert half.forward_naive(TOKENS).dtype == torch.float32
    assert (half.forward_naive(TOKENS) - expected).abs().max() < 0.03 * expected.abs().max()


def test_frequencies_that_old_checkpoints_store_are_ignored(tmp_path):
    """Catches a refusal of Llama 2 checkpoints."""
    weights = random_weights(config_of())
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    assert load(write(tmp_path, weights))


def test_wrong_weights_are_refused_by_name(tmp_path):
    """Catches missing tensors filled with noise, and biases or experts that are dropped without a word."""
    weights = random_weights(config_of())
    name = "model.layers.1.mlp.up_proj.weight"
    write(tmp_path, {n: w for n, w in weights.items() if n != name})
    with pytest.raises(UnsupportedModelError, match=f"lacks 1 tensors, for example '{name}'"):
        load(tmp_path)
    write(tmp_path, {**weights, "model.layers.0.self_attn.q_proj.bias": torch.zeros(32)})
    with pytest.raises(UnsupportedModelError, match=r"q_proj\.bias"):
        load(tmp_path)
    write(tmp_path, {**weights, name: torch.zeros(48, 31)})
    with pytest.raises(UnsupportedModelError, match=r"up_proj.*\[48, 31\].*\[48, 32\]"):
        load(tmp_path)
    write(tmp_path, {**weights, name: torch.zeros(48, 32, dtype=torch.int8)})
    with pytest.raises(UnsupportedModelError, match=r"up_proj.*I8"):
        load(tmp_path)


def test_damaged_files_are_named(tmp_path):
    """Catches errors that do not say which file is wrong: an interrupted download is common."""
    folder = write(tmp_path, random_weights(config_of()))
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged"):
        load(folder)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"no model\.safetensors"):
        load(folder)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-00001.safetensors"}}))
    with pytest.raises(FileNotFoundError, match=r"model-00001\.safetensors is missing"):
        load(folder)
    index.write_text(json.dumps({"weight_map": {"a": "../model.safetensors"}}))
    with pytest.raises(ValueError, match="folder itself"):
        load(folder)
    index.write_text("[]")
    with pytest.raises(ValueError, match="not a JSON object"):
        load(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is not valid JSON"):
        load(folder)
    (folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"config\.json is missing"):
        load(folder)


class Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit('the pickle ran')",)


def test_pickle_is_never_opened(tmp_path):
    """Catches the one way in which a checkpoint can run its author's code."""
    folder = write(tmp_path, random_weights(config_of()))
    (folder / "model.safetensors").unlink()
    torch.save(Bomb(), folder / "pytorch_model.bin")
    with pytest.raises(UnsupportedModelError, match=r"pickle \(pytorch_model\.bin\).*save_pretrained"):
        load(folder)


# --- config.json --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["GPT2LMHeadModel"]}, r"GPT2LMHeadModel.*supported: LlamaForCausalLM"),
        ({"architectures": None, "model_type": "gemma2"}, "model_type='gemma2'"),
        ({"architectures": ["Qwen3MoeForCausalLM"], "num_experts": 8}, "Qwen3MoeForCausalLM"),
        ({"num_local_experts": 8}, "num_local_experts=8"),
        ({"hidden_act": "gelu"}, "hidden_act='gelu' is not supported; supported: 'silu'"),
        ({"final_logit_softcapping": 30.0}, r"final_logit_softcapping=30\.0"),
        ({"attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantization_config.*awq"),
        ({"residual_multiplier": 0.2}, "residual_multiplier"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types contains 'sliding_attention'"),
        ({"use_sliding_window": True, "sliding_window": 64}, "sliding_window=64"),
        ({"architectures": ["MistralForCausalLM"], "sliding_window": 64}, "sliding_window=64"),
        (
            {"architectures": ["MistralForCausalLM"], "max_position_embeddings": 32768},
            "sliding_window=4096",  # what the class assumes when the field is missing
        ),
        ({"auto_map": {"AutoModelForCausalLM": "modeling_x.X"}}, "auto_map"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, "yarn"),
        ({"rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4}}, "longrope"),
        ({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"rope_scaling": {"type": "default", "mrope_section": [2, 3, 3]}}, "mrope_section"),
        ({"rope_theta": 5e5, "rope_parameters": {"rope_theta": 1e4}}, "contradict"),
        ({"num_key_value_heads": 3}, "num_kv_heads=3"),
        ({"hidden_size": "32"}, "hidden_size"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"head_dim": 7}, "head_dim must be even"),
    ],
)
def test_what_would_change_results_is_refused_by_name_and_value(tmp_path, changes, message):
    """Catches checkpoints that load without a word and answer nonsense."""
    with pytest.raises(UnsupportedModelError, match=message):
        config_of(**changes)
    write(tmp_path, random_weights(config_of()), **changes)
    with pytest.raises(UnsupportedModelError, match=r"config\.json"):
        ModelConfig.from_folder(tmp_path)


def test_a_missing_field_is_named():
    """Catches a KeyError without an explanation, and sizes that are guessed."""
    fields = {name: value for name, value in FIELDS.items() if name != "vocab_size"}
    with pytest.raises(UnsupportedModelError, match="missing: vocab_size"):
        ModelConfig.from_dict(fields)


def test_what_changes_nothing_is_accepted():
    """Catches refusals of ordinary checkpoints: fields that say "no" to something are everywhere."""
    config = config_of(
        sliding_window=64,  # Llama's class has no window
        use_mrope=False,
        quantization_config=None,
        num_experts=0,
        pretraining_tp=2,
        layer_types=["full_attention"] * 2,
        auto_map={"AutoConfig": "x.Y"},
        unknown_to_everyone=1,
    )
    assert config == config_of()
    assert config_of(architectures=["Qwen2ForCausalLM"], use_sliding_window=False, sliding_window=64).attention_bias
    config_of(architectures=["MistralForCausalLM"], sliding_window=None)
    config_of(architectures=["MistralForCausalLM"], sliding_window=128)


def test_both_ways_to_write_rope_parameters():
    """Catches checkpoints of transformers 5 read with theta 10,000, and Llama 3.1 without its scaling."""
    llama3 = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
    old = config_of(rope_theta=5e5, rope_scaling=llama3)
    new = config_of(rope_parameters={**llama3, "rope_theta": 5e5})
    both = config_of(rope_theta=5e5, rope_scaling=llama3, rope_parameters={**llama3, "rope_theta": 5e5})
    assert old == new == both
    assert (old.rope_theta, old.rope_scaling) == (5e5, llama3)
    plain = config_of(rope_theta=5e5, rope_scaling=None)
    assert plain == config_of(rope_parameters={"rope_theta": 5e5, "rope_type": "default"})
    assert plain.rope_scaling is None
    assert not torch.equal(old.inv_freq(), plain.inv_freq())


def test_missing_fields_get_the_values_of_transformers():
    """Catches head_dim = hidden_size / num_heads for Qwen3, whose class says 128, and the like."""
    import transformers

    for family in ("llama", "mistral", "qwen2", "qwen3"):
        given = {"num_attention_heads": 32, "hidden_size": 64 * 32}
        theirs = transformers.AutoConfig.for_model(family, **given)
        fields = {k: v for k, v in FIELDS.items() if k not in ("architectures", "num_key_value_heads", "rms_norm_eps")}
        ours = ModelConfig.from_dict({**fields, **given, "model_type": family})
        assert ours.head_dim == (getattr(theirs, "head_dim", None) or 64), family
        assert ours.num_kv_heads == theirs.num_key_value_heads, family
        assert ours.rms_norm_eps == theirs.rms_norm_eps, family
        assert ours.rope_theta == theirs.rope_parameters["rope_theta"], family
        assert ours.tie_word_embeddings == theirs.tie_word_embeddings, family


# --- names --------------------------------------------------------------------------------------------------


@pytest.fixture
def no_network(monkeypatch):
    import huggingface_hub as hub

    def refuse(*args, **kwargs):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(hub, "snapshot_download", refuse)


def test_tiny_and_folders_need_no_network(no_network):
    """Catches a look at the network before the folder."""
    assert find_folder("tiny") == find_folder(TINY) == find_folder(str(TINY)) == TINY
    model, config, tokenizer = load_model("tiny")
    assert (model.config, model.device.type) == (config, "cpu")
    assert tokenizer.eos_token_ids == (2,)


def test_a_hub_name_without_network_says_what_to_do(no_network):
    """Catches a bare connection error."""
    with pytest.raises(FileNotFoundError, match=r"(?s)ConnectionError.*hf download owner/name.*LLM\('path") as info:
        load_model("owner/name")
    assert isinstance(info.value.__cause__, ConnectionError)


def test_a_hub_name_without_the_package_says_what_to_install(monkeypatch):
    """Catches an ImportError that does not name the extra."""
    real = builtins.__import__

    def without_hub(name, *args, **kwargs):
        if name == "huggingface_hub":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_hub)
    with pytest.raises(FileNotFoundError, match=r"(?s)pip install 'yaie\[hub\]'.*hf download owner/name"):
        load_model("owner/name")


def test_a_hub_name_fetches_no_pickle(monkeypatch, tmp_path):
    """Catches gigabytes of weights in other formats, and a name that does not lead to the fetched folder."""
    import huggingface_hub as hub

    asked = {}
    monkeypatch.setattr(
        hub, "snapshot_download", lambda name, **options: asked.update(options, name=name) or str(tmp_path)
    )
    assert find_folder("owner/name") == tmp_path
    assert asked["name"] == "owner/name"
    assert not any(pattern.endswith((".bin", ".pt", "*")) for pattern in asked["allow_patterns"])


@pytest.mark.parametrize("name", ["./nothing", "nothing", "/no/such/folder", "a/b/c", "~/nothing_here", "", "a b/c"])
def test_a_folder_that_is_not_there_is_not_looked_up_on_the_network(no_network, name):
    """Catches typing errors in a path that end as errors about a network, which says "there is no folder", too."""
    with pytest.raises(FileNotFoundError, match=r"^there is no folder '.*'\. Give a folder, 'tiny', or a name on"):
        find_folder(name)


def test_a_file_is_not_a_folder(tmp_path):
    """Catches confusion when the weights file itself is given."""
    file = tmp_path / "model.gguf"
    file.touch()
    with pytest.raises(ValueError, match="is a file; give the folder"):
        find_folder(file)
