"""The shape of a decoder, read from a Hugging Face `config.json`. What would change results is read or refused."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yaie.kernels.rope import rope_inv_freq

# Architectures that this decoder computes exactly, and where their configurations differ from Llama's: the class in
# transformers gives a missing field this value.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "LlamaForCausalLM": {},
    "MistralForCausalLM": {"num_key_value_heads": 8, "sliding_window": 4096},
    "Qwen2ForCausalLM": {"num_key_value_heads": 32},
    "Qwen3ForCausalLM": {"num_key_value_heads": 32, "head_dim": 128},
}

# Fields that change what a model computes in ways that this decoder does not know, with the values that change nothing.
# None, False, and a missing field always change nothing.
NEUTRAL_VALUES: dict[str, tuple] = {
    "hidden_act": ("silu",),
    "no_rope_layers": ([],),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), (0,)),
    **dict.fromkeys(("logit_scale", "logits_scaling", "embedding_multiplier", "residual_multiplier"), (1,)),
    **dict.fromkeys(("partial_rotary_factor", "rotary_pct"), (1,)),
    **dict.fromkeys(("quantization_config", "compression_config", "attention_multiplier", "clip_qkv", "use_mrope"), ()),
    **dict.fromkeys(("attn_logit_softcapping", "final_logit_softcapping", "query_pre_attn_scalar"), ()),
    **dict.fromkeys(("rope_interleaved", "attention_chunk_size", "use_parallel_residual"), ()),
    **dict.fromkeys(("add_cross_attention", "is_encoder_decoder"), ()),
}
# The fields that every configuration must have, positive integers, and what they are called here.
REQUIRED = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_heads",
    "max_position_embeddings": "max_position_embeddings",
}


class UnsupportedModelError(ValueError):
    """A checkpoint asks for something that this decoder does not compute. Running it anyway would give wrong text."""


@dataclass(frozen=True)
class ModelConfig:
    """Everything that decides what the decoder computes, apart from the weights.

    `rope_scaling` is what `rope_inv_freq` takes. `attention_bias` adds a bias to query, key and value,
    `attention_output_bias` to the output projection; `qk_norm` normalises every head of query and key (Qwen3).
    """

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_position_embeddings: int
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    rope_scaling: Mapping[str, Any] | None = None
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    attention_output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    architecture: str = "LlamaForCausalLM"

    def __post_init__(self) -> None:
        for name in (*REQUIRED.values(), "num_kv_heads", "head_dim"):
            _require_positive_int(name, getattr(self, name))
        if self.num_heads % self.num_kv_heads:
            raise UnsupportedModelError(f"num_kv_heads={self.num_kv_heads} does not divide num_heads={self.num_heads}")
        try:
            self.inv_freq()
        except ValueError as error:
            raise UnsupportedModelError(
                f"rope_theta={self.rope_theta}, rope_scaling={self.rope_scaling}: {error}"
            ) from None

    def inv_freq(self):
        """Inverse frequencies of RoPE, `[head_dim / 2]`. `dynamic` scaling begins beyond `max_position_embeddings`,
        which is as far as the engine goes, so there it scales nothing."""
        return rope_inv_freq(
            self.head_dim, self.rope_theta, self.rope_scaling, max_position_embeddings=self.max_position_embeddings
        )

    @classmethod
    def from_folder(cls, folder: str | Path) -> "ModelConfig":
        """Read `config.json` in a folder.

        Raises:
            FileNotFoundError: there is none.
            UnsupportedModelError: it lacks a field, or asks for something not supported.
            ValueError: it is not JSON.
        """
        path = Path(folder) / "config.json"
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: a Hugging Face model folder has a config.json")
        try:
            return cls.from_dict(read_json(path))
        except UnsupportedModelError as error:
            raise UnsupportedModelError(f"{path}: {error}") from None

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "ModelConfig":
        """The configuration that the fields of a `config.json` describe.

        Raises:
            UnsupportedModelError: names the field and the value that are missing, wrong or not supported.
        """
        architecture = _architecture(fields)
        fields = {**ARCHITECTURES[architecture], **fields}
        if missing := [name for name in REQUIRED if name not in fields]:
            raise UnsupportedModelError(f"fields are missing: {', '.join(missing)}")
        for name in REQUIRED:
            _require_positive_int(name, fields[name])
        _refuse_what_changes_results(architecture, fields)
        rope_theta, rope_scaling = _rope(fields)
        llama, qwen2, qwen3 = (architecture == f"{name}ForCausalLM" for name in ("Llama", "Qwen2", "Qwen3"))
        bias = (llama or qwen3) and bool(fields.get("attention_bias"))
        num_heads = fields["num_attention_heads"]
        return cls(
            **{ours: fields[theirs] for theirs, ours in REQUIRED.items()},
            architecture=architecture,
            num_kv_heads=_given(fields, "num_key_value_heads", num_heads),
            head_dim=_given(fields, "head_dim", fields["hidden_size"] // num_heads),
            rms_norm_eps=_given(fields, "rms_norm_eps", 1e-6),
            rope_theta=rope_theta,
            rope_scaling=rope_scaling,
            tie_word_embeddings=bool(fields.get("tie_word_embeddings")),
            attention_bias=bias or qwen2,
            attention_output_bias=bias,
            mlp_bias=llama and bool(fields.get("mlp_bias")),
            qk_norm=qwen3,
        )


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file, empty if there is no file."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} is not a JSON object but a {type(value).__name__}")
    return value


def _require_positive_int(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise UnsupportedModelError(f"{name} must be a positive integer, got {value!r}")


def _given(fields: Mapping[str, Any], name: str, default: Any) -> Any:
    return default if fields.get(name) is None else fields[name]


def _architecture(fields: Mapping[str, Any]) -> str:
    named, model_type = fields.get("architectures") or [], fields.get("model_type")
    if not named:
        named = [name for name in ARCHITECTURES if name == f"{str(model_type).capitalize()}ForCausalLM"]
    if len(named) != 1 or named[0] not in ARCHITECTURES:
        raise UnsupportedModelError(
            f"architectures={named} ({model_type=}) is not supported; supported: {', '.join(ARCHITECTURES)}"
        )
    return named[0]


def _refuse_what_changes_results(architecture: str, fields: Mapping[str, Any]) -> None:
    for name, neutral in NEUTRAL_VALUES.items():
        value = fields.get(name)
        if value is not None and value is not False and value not in neutral:
            expected = f"; supported: {', '.join(map(repr, neutral))}" if neutral else ""
            raise UnsupportedModelError(f"{name}={value!r} is not supported{expected}")
    if "AutoModelForCausalLM" in (fields.get("auto_map") or {}):
        raise UnsupportedModelError(
            f"auto_map={fields['auto_map']!r} names code of the checkpoint's own, which is not run"
        )
    for kind in set(fields.get("layer_types") or []) - {"full_attention"}:
        raise UnsupportedModelError(f"layer_types contains {kind!r}; supported: 'full_attention'")
    window, longest = fields.get("sliding_window"), fields["max_position_embeddings"]
    # Qwen has a switch beside the size; for Mistral the size alone counts; the Llama class has no window.
    switched_on = fields.get("use_sliding_window", architecture == "MistralForCausalLM")
    if switched_on and window is not None and window < longest:
        raise UnsupportedModelError(
            f"sliding_window={window} is smaller than max_position_embeddings={longest}: attention over a window is "
            "not supported. Up to that length the window hides nothing: set max_position_embeddings to the window's "
            "size to serve shorter texts"
        )


def _rope(fields: Mapping[str, Any]) -> tuple[float, dict[str, Any] | None]:
    """Theta and scaling, from `rope_parameters` (transformers 5) or from `rope_theta` and `rope_scaling`."""
    parameters = dict(fields.get("rope_parameters") or {})
    scaling = dict(fields.get("rope_scaling") or {})
    theta = _given(fields, "rope_theta", parameters.get("rope_theta", scaling.pop("rope_theta", 10000.0)))
    if parameters.pop("rope_theta", theta) != theta:
        raise UnsupportedModelError(
            f"rope_theta={theta} and rope_parameters={fields['rope_parameters']} contradict each other"
        )
    if parameters and scaling and _without_default(parameters) != _without_default(scaling):
        raise UnsupportedModelError(f"{parameters=} and {scaling=} contradict each other")
    return theta, _without_default(scaling or parameters) or None


def _without_default(scaling: dict[str, Any]) -> dict[str, Any]:
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    rest = {name: value for name, value in scaling.items() if name not in ("rope_type", "type")}
    if kind == "default" and not any(value not in (None, 1, 1.0) for value in rest.values()):
        return {}
    return {"rope_type": kind, **rest}
