"""From a name or a folder to a model that runs: find the folder, read safetensors into the fused weights.

Pickle files (`*.bin`, `*.pt`) are never opened: loading one runs whatever code its author put in.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from yaie.models.config import ModelConfig, UnsupportedModelError, read_json
from yaie.models.llama import Llama
from yaie.models.tokenizer import Tokenizer

TINY = Path(__file__).parent / "tiny"
HUB_FILES = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "model.safetensors.index.json",
    "model*.safetensors",
]
# Old Llama checkpoints store these frequencies; they follow from config.json.
DERIVED = re.compile(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq")


def load_model(
    name_or_path: str | Path, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> tuple[Llama, ModelConfig, Tokenizer]:
    """Load a checkpoint in the format of Hugging Face: config.json, safetensors, tokenizer.json.

    Args:
        name_or_path: a folder; or "tiny", the model that ships with YAIE; or a name on the Hugging Face Hub such as
            "Qwen/Qwen3-0.6B", fetched with `huggingface_hub` (only then is the network used).
        dtype: the weights are converted to this.
        device: where the weights go.

    Raises:
        FileNotFoundError: the folder or one of its files is missing, or the name could not be fetched.
        UnsupportedModelError: the checkpoint asks for something that the decoder does not compute.
        ValueError: a file is damaged.
    """
    folder = find_folder(name_or_path)
    tokenizer = Tokenizer(folder)
    model = load_weights(folder, ModelConfig.from_folder(folder), dtype, device)
    return model, model.config, tokenizer


def find_folder(name_or_path: str | Path) -> Path:
    """The folder that a name stands for; see `load_model`."""
    name = str(name_or_path)
    path = Path(name_or_path).expanduser()
    if name == "tiny":
        return TINY
    if name and path.is_dir():  # Path("") is the current folder
        return path
    if name and path.exists():
        raise ValueError(f"{path} is a file; give the folder that holds config.json, *.safetensors and tokenizer.json")
    if isinstance(name_or_path, Path) or not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name):
        raise FileNotFoundError(
            f"there is no folder {name!r}. Give a folder, 'tiny', or a name on the Hugging Face Hub (owner/name)"
        )
    return _fetch(name)


def _fetch(name: str) -> Path:
    by_hand = (
        f"On a machine with a network, run: hf download {name} --local-dir my_model\n"
        "then copy that folder here and pass its path: LLM('path/to/my_model')"
    )
    try:
        import huggingface_hub
    except ImportError:
        raise FileNotFoundError(
            f"there is no folder {name!r}, and fetching that name from the Hugging Face Hub needs a package: "
            f"pip install 'yaie[hub]'\n{by_hand}"
        ) from None
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=HUB_FILES))
    except Exception as error:  # no network, no such name, gated, disk full: each library below has its own classes
        raise FileNotFoundError(
            f"there is no folder {name!r}, and the Hugging Face Hub did not give that name "
            f"({type(error).__name__}: {error}).\n{by_hand}"
        ) from error


def load_weights(
    folder: Path, config: ModelConfig, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Llama:
    """A decoder with the weights of a folder. Every weight must be there, with the right shape, and no other.

    Besides the model itself, about one tensor of the checkpoint is in memory at a time.
    """
    with torch.device("meta"):  # no memory and no random numbers for weights that are overwritten
        model = Llama(config)
    model = model.to(dtype).to_empty(device=device).eval()
    if config.tie_word_embeddings:
        model.lm_head = model.embed_tokens.weight
    views = model.checkpoint_views()
    missing, head = set(views), None
    for file, name, tensor in _tensors(folder):
        if DERIVED.fullmatch(name):
            continue
        if name == "lm_head.weight" and config.tie_word_embeddings:
            head = tensor
            continue
        if name not in views:
            raise UnsupportedModelError(
                f"{file} has a tensor {name!r}, which {config.architecture} does not have with this config.json: "
                "leaving it out would change results"
            )
        if tensor.shape != views[name].shape or not tensor.is_floating_point():
            raise UnsupportedModelError(
                f"{file}: {name!r} is {tensor.dtype} {list(tensor.shape)}, but config.json asks for floating-point "
                f"numbers {list(views[name].shape)}"
            )
        views[name].copy_(tensor)
        missing.discard(name)
    if missing:
        raise UnsupportedModelError(f"{folder} lacks {len(missing)} tensors, for example {min(missing)!r}")
    if head is not None and not torch.equal(head.to(model.lm_head), model.lm_head):
        raise UnsupportedModelError(
            f"{folder}: tie_word_embeddings=True, but lm_head.weight differs from model.embed_tokens.weight"
        )
    return model


def _tensors(folder: Path) -> Iterator[tuple[Path, str, torch.Tensor]]:
    """All tensors of a checkpoint, one at a time: file, name, tensor."""
    for file in _weight_files(folder):
        try:
            with safe_open(file, framework="pt") as tensors:
                for name in tensors.keys():  # noqa: SIM118 (not a dict)
                    yield file, name, tensors.get_tensor(name)
        except SafetensorError as error:
            raise ValueError(f"{file} is damaged or not a safetensors file: {error}") from None


def _weight_files(folder: Path) -> list[Path]:
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if index.is_file():
        weight_map = read_json(index).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise ValueError(f"{index} has no weight_map: it should say which file holds which tensor")
        names = sorted(set(weight_map.values()))
        for name in names:
            if Path(name).name != name:
                raise ValueError(f"{index} names {name!r}: weights must lie in the folder itself")
            if not (folder / name).is_file():
                raise FileNotFoundError(f"{folder / name} is missing, but {index.name} names it")
        return [folder / name for name in names]
    if pickles := sorted(p.name for kind in ("*.bin", "*.pt", "*.pth") for p in folder.glob(kind)):
        raise UnsupportedModelError(
            f"{folder} has its weights as pickle ({', '.join(pickles)}). Such a file can run any code when it is "
            "opened, so it is never loaded. If you trust its author, convert it where transformers is installed: "
            "AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new_folder)"
        )
    raise FileNotFoundError(f"{folder} has no model.safetensors and no model.safetensors.index.json")
