"""The decoder against transformers, on small random models of every family, loaded through real folders."""

import pytest
import torch
import transformers

from yaie.models.config import ModelConfig
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
