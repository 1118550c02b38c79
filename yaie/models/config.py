"""The shape of a decoder, read from a Hugging Face `config.json`. What would change results is read or refused."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yaie.kernels.rope import rope_inv_freq

# Architectures that this decoder computes exactly, and where their configurations differ from Llama's: the class in
# transformers gives a missing field this value.
WINDOW = {"sliding_window": 4096, "max_window_layers": 28}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "LlamaForCausalLM": {},
    "MistralForCausalLM": {"num_key_value_heads": 8, **WINDOW},
    "Qwen2ForCausalLM": {"num_key_value_heads": 32, **WINDOW},
    "Qwen3ForCausalLM": {"num_key_value_heads": 32, "head_dim": 128, **WINDOW},
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

# What every field that is read must be: the kind, the least, and the most. The limits lie far beyond every model that
# there is, and below what could fill the memory before the weights are seen.
RULES: dict[str, tuple] = {
    "num_hidden_layers": (int, 1, 1000),
    **dict.fromkeys(("num_attention_heads", "num_key_value_heads", "head_dim"), (int, 1, 10**4)),
    **dict.fromkeys(("vocab_size", "hidden_size", "intermediate_size"), (int, 1, 10**7)),
    **dict.fromkeys(("max_position_embeddings", "original_max_position_embeddings"), (int, 1, 2**31 - 1)),
    **dict.fromkeys(("sliding_window", "max_window_layers"), (int, 0, 2**63 - 1)),
    "rms_norm_eps": (float, 1e-20, 1),
    "rope_theta": (float, 1, 1e15),
    "factor": (float, 1, 1e6),
    **dict.fromkeys(("low_freq_factor", "high_freq_factor"), (float, 1e-6, 1e6)),
    **dict.fromkeys(("attention_bias", "mlp_bias", "tie_word_embeddings", "use_sliding_window"), (bool,)),
    **dict.fromkeys(("attention_output_bias", "qk_norm"), (bool,)),
    **dict.fromkeys(("architecture", "model_type", "rope_type", "type"), (str,)),
    **dict.fromkeys(("architectures", "layer_types"), (list,)),
    **dict.fromkeys(("rope_parameters", "rope_scaling", "auto_map"), (Mapping,)),
}
KINDS = {int: "an integer", float: "a number", bool: "true or false", str: "a string", list: "a list of strings"}
# The fields that have other names here, and those that every configuration must have.
THEIRS = {"num_layers": "num_hidden_layers", "num_heads": "num_attention_heads", "num_kv_heads": "num_key_value_heads"}
REQUIRED = ("vocab_size", "hidden_size", "intermediate_size", "num_layers", "num_heads", "max_position_embeddings")
MAX_TEXT_BYTES = 4 * 2**20  # of a configuration or a template; as objects it takes some 20 times as much


class UnsupportedModelError(ValueError):
    """A checkpoint asks for something that this decoder does not compute. Running it anyway would give wrong text."""


@dataclass(frozen=True)
class ModelConfig:
    """Everything that decides what the decoder computes, apart from the weights.

    UnsupportedModelError names a field, what it must be, and what it is.
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
    rope_scaling: Mapping[str, Any] | None = None  # what `rope_inv_freq` takes
    tie_word_embeddings: bool = False
    attention_bias: bool = False  # of query, key and value
    attention_output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False  # every head of query and key is normalised (Qwen3)
    architecture: str = "LlamaForCausalLM"

    def __post_init__(self) -> None:
        _check_fields(vars(self), required=[name for name in vars(self) if name != "rope_scaling"])
        if self.num_heads % self.num_kv_heads:
            raise UnsupportedModelError(f"num_kv_heads={self.num_kv_heads} does not divide num_heads={self.num_heads}")
        try:
            self.inv_freq()
        except (ValueError, ArithmeticError) as error:
            given = f"rope_theta={self.rope_theta}, rope_scaling={self.rope_scaling!s:.200}"
            raise UnsupportedModelError(f"head_dim={self.head_dim}, {given}: {error!s:.200}") from None

    def inv_freq(self):
        """Inverse frequencies of RoPE, `[head_dim / 2]`."""
        return rope_inv_freq(self.head_dim, self.rope_theta, self.rope_scaling)

    @classmethod
    def from_folder(cls, folder: str | Path) -> "ModelConfig":
        """As `from_dict`, of `config.json` in a folder; errors name the file. ValueError: it is not JSON."""
        path = Path(folder) / "config.json"
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: a Hugging Face model folder has a config.json")
        try:
            return cls.from_dict(read_json(path))
        except UnsupportedModelError as error:
            raise UnsupportedModelError(f"{path}: {error}") from None

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "ModelConfig":
        """The configuration that the fields of a `config.json` describe."""
        _check_fields(fields)
        architecture = _architecture(fields)
        merged = {**ARCHITECTURES[architecture], **fields}  # so null is no missing field, but what follows from others
        fields = {name: value for name, value in merged.items() if value is not None}
        _check_fields(fields, [THEIRS.get(name, name) for name in REQUIRED])
        _refuse_what_changes_results(architecture, fields)
        rope_theta, rope_scaling = _rope(fields)
        llama, qwen2, qwen3 = (architecture == f"{name}ForCausalLM" for name in ("Llama", "Qwen2", "Qwen3"))
        bias = (llama or qwen3) and bool(fields.get("attention_bias"))
        num_heads = fields["num_attention_heads"]
        return cls(
            **{name: fields[THEIRS.get(name, name)] for name in REQUIRED},
            architecture=architecture,
            num_kv_heads=fields.get("num_key_value_heads", num_heads),
            head_dim=fields.get("head_dim", fields["hidden_size"] // num_heads),
            rms_norm_eps=fields.get("rms_norm_eps", 1e-6),
            rope_theta=rope_theta,
            rope_scaling=rope_scaling,
            tie_word_embeddings=bool(fields.get("tie_word_embeddings")),
            attention_bias=bias or qwen2,
            attention_output_bias=bias,
            mlp_bias=llama and bool(fields.get("mlp_bias")),
            qk_norm=qwen3,
        )


def read_text(path: Path) -> str:
    """The text in a file. ValueError, naming it, if it is no text or too long to be a configuration or a template."""
    if path.stat().st_size > MAX_TEXT_BYTES:
        raise ValueError(f"{path} has {path.stat().st_size} bytes; expected at most {MAX_TEXT_BYTES}")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text: {error}") from None


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file, empty if there is no file."""
    if not path.is_file():
        return {}
    text = read_text(path)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} is not a JSON object but a {type(value).__name__}")
    return value


def _check_fields(fields: Mapping[str, Any], required: Collection[str] = (), where: str = "") -> None:
    """Hold fields to `RULES`, those of objects within them too. None is a missing value."""
    if not isinstance(fields, Mapping):
        raise UnsupportedModelError(f"{where[:-1] or 'a configuration'} must be an object, got {fields!r:.80}")
    if missing := [name for name in required if fields.get(name) is None]:
        raise UnsupportedModelError(f"fields are missing: {', '.join(missing)}")
    for name, value in fields.items():
        kind, *limits = RULES.get(THEIRS.get(name, name), (None,))
        if kind is None or value is None:
            continue
        if kind is Mapping:
            _check_fields(value, where=f"{where}{name}.")
        elif not _is(value, kind, *limits):
            within = f" from {limits[0]} to {limits[1]}" if limits else ""
            raise UnsupportedModelError(f"{where}{name} must be {KINDS[kind]}{within}, got {value!r:.80}")


def _is(value: Any, kind: type, least: float = 0, most: float = 0) -> bool:
    if kind in (int, float):  # bool is a kind of int, and NaN lies in no range
        return type(value) in (int, kind) and least <= value <= most
    return isinstance(value, kind) and (kind is not list or all(isinstance(item, str) for item in value))


def _architecture(fields: Mapping[str, Any]) -> str:
    named, model_type = fields.get("architectures"), fields.get("model_type")
    if not named:
        named = [name for name in ARCHITECTURES if name == f"{str(model_type).capitalize()}ForCausalLM"]
    if len(named) != 1 or named[0] not in ARCHITECTURES:
        raise UnsupportedModelError(
            f"architectures={named} ({model_type=}) is not supported; supported: {', '.join(ARCHITECTURES)}"
        )
    return named[0]


def _refuse_what_changes_results(architecture: str, fields: Mapping[str, Any]) -> None:
    for name, neutral in NEUTRAL_VALUES.items():
        value = fields.get(name, False)
        if value is not False and value not in neutral:
            expected = f"; supported: {', '.join(map(repr, neutral))}" if neutral else ""
            raise UnsupportedModelError(f"{name}={value!r:.80} is not supported{expected}")
    if "AutoModelForCausalLM" in fields.get("auto_map", {}):
        raise UnsupportedModelError(f"auto_map={fields['auto_map']!r:.200} names code of the checkpoint's own")
    layer_types, qwen = fields.get("layer_types", []), architecture.startswith("Qwen")
    for kind in set(layer_types) - {"full_attention"}:
        raise UnsupportedModelError(f"layer_types contains {kind!r}; supported: 'full_attention'")
    window, longest = fields.get("sliding_window"), fields["max_position_embeddings"]
    # Qwen has a switch beside the size, and names the layers that have a window: those from `max_window_layers` on, or
    # those of another type. For Mistral the size alone counts; the Llama class has no window.
    switched_on = fields.get("use_sliding_window", architecture == "MistralForCausalLM")
    if qwen and (layer_types or fields.get("max_window_layers", 0) >= fields["num_hidden_layers"]):
        switched_on = False
    if switched_on and window is not None and window < longest:
        raise UnsupportedModelError(
            f"sliding_window={window} is smaller than max_position_embeddings={longest}: windows are not supported. To "
            "serve shorter texts, of which it hides nothing, set max_position_embeddings to its size"
        )


def _rope(fields: Mapping[str, Any]) -> tuple[float, dict[str, Any] | None]:
    """Theta and scaling, from `rope_parameters` (transformers 5) or from `rope_theta` and `rope_scaling`."""
    given = [dict(fields[name]) for name in ("rope_parameters", "rope_scaling") if name in fields]
    thetas = {theta for theta in (fields.get("rope_theta"), *(one.pop("rope_theta", None) for one in given)) if theta}
    scalings = [_without_neutral(one) for one in given if one]
    if len(thetas) > 1 or scalings[1:] not in ([], scalings[:1]):
        named = {name: fields.get(name) for name in ("rope_theta", "rope_parameters", "rope_scaling")}
        raise UnsupportedModelError(f"these contradict each other: {named}")
    return thetas.pop() if thetas else 10000.0, (scalings[0] if scalings else {}) or None


def _without_neutral(scaling: dict[str, Any]) -> dict[str, Any]:
    kind = scaling.get("rope_type") or scaling.get("type") or "default"
    rest = {name: value for name, value in scaling.items() if name not in ("rope_type", "type") and value is not None}
    rest = {name: value for name, value in rest.items() if value not in NEUTRAL_VALUES.get(name, ())}
    if kind == "default" and all(value == 1 for value in rest.values()):
        return {}
    return {"rope_type": kind, **rest}
