"""From a name or a folder to a model that runs: find the folder, read safetensors into the fused weights.

Pickle files (`*.bin`, `*.pt`) are never opened: loading one runs whatever code its author put in.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

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
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}  # by their names in files
FIRST_NORM = "layers.0.input_layernorm.weight"  # every decoder has one, under the name of the decoder
MAX_HEADER_BYTES = 4 * 2**20  # the largest models have some 150 KB
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
    config, tokenizer = ModelConfig.from_folder(folder), Tokenizer(folder)
    for what, largest in (
        ("tokenizer.json has the id", tokenizer.largest_id),
        ("eos_token_id has", max(tokenizer.eos_token_ids, default=0)),
    ):
        if largest >= config.vocab_size:
            raise UnsupportedModelError(
                f"{folder}: {what} {largest}, but config.json has vocab_size={config.vocab_size}"
            )
    return load_weights(folder, config, dtype, device), config, tokenizer


def find_folder(name_or_path: str | Path) -> Path:
    """The folder that a name stands for; see `load_model`."""
    if not isinstance(name_or_path, str | os.PathLike):
        raise TypeError(f"a model is a folder or a name (str or Path), got {name_or_path!r:.80}")
    name = str(name_or_path)
    path = Path(os.path.expanduser(name))
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

    The headers of the files are compared with `config` before any weight gets its memory. Besides the model itself,
    about one tensor of the checkpoint is in memory at a time.
    """
    _check_target(dtype, device)
    stored = _stored(folder)
    head = stored.pop("lm_head.weight", None) if config.tie_word_embeddings else None
    if head is not None:  # a shared tensor may be stored under either name, or under both
        stored.setdefault("model.embed_tokens.weight", head)
    layers = {match[1] for name in stored if (match := re.match(r"model\.layers\.(\d+)\.", name))}
    if len(layers) != config.num_layers:  # before so many are built
        raise UnsupportedModelError(
            f"{folder}: config.json has num_hidden_layers={config.num_layers}, but the weights have {len(layers)}"
        )
    with torch.device("meta"):  # no memory and no random numbers for weights that are overwritten
        model = Llama(config)
    _compare(folder, config, stored, model.checkpoint_views())
    model = model.to(dtype).to_empty(device=device).eval()
    if config.tie_word_embeddings:
        model.lm_head = model.embed_tokens.weight
    views = model.checkpoint_views()
    for file in dict.fromkeys(tensor.file for tensor in stored.values()):
        with _opened(file) as tensors:
            for name, tensor in stored.items():
                if tensor.file == file:
                    views[name].copy_(tensors.get_tensor(tensor.name))
    if head is not None:
        with _opened(head.file) as tensors:
            if not torch.equal(tensors.get_tensor(head.name).to(model.lm_head), model.lm_head):
                raise UnsupportedModelError(
                    f"{folder}: tie_word_embeddings=True, but lm_head.weight differs from model.embed_tokens.weight"
                )
    return model


class _Stored(NamedTuple):
    """What the header of a file says about a tensor."""

    file: Path
    name: str
    shape: list[int]
    dtype: str


def _check_target(dtype: torch.dtype, device: torch.device | str) -> None:
    if dtype not in DTYPES.values():
        raise ValueError(f"dtype must be one of {', '.join(map(str, DTYPES.values()))}, got {dtype!r}")
    try:
        torch.empty(0, device=device)
    except Exception as error:  # each kind of device, absent or misspelt, has its own
        raise ValueError(f"device={device!r} cannot be used here: {error}") from None


def _compare(folder: Path, config: ModelConfig, stored: Mapping[str, _Stored], expected: Mapping[str, Tensor]) -> None:
    """Refuse weights that are not those of `config`."""
    for name, tensor in stored.items():
        if name not in expected:
            raise UnsupportedModelError(
                f"{tensor.file} has a tensor {tensor.name!r}, which {config.architecture} does not have with this "
                "config.json: leaving it out would change results"
            )
        shape = list(expected[name].shape)
        if tensor.shape != shape or tensor.dtype not in DTYPES:
            raise UnsupportedModelError(
                f"{tensor.file}: {tensor.name!r} is {tensor.dtype} {tensor.shape}, but config.json asks for {shape}, "
                f"in {', '.join(DTYPES)}"
            )
    if missing := expected.keys() - stored.keys():
        raise UnsupportedModelError(f"{folder} lacks {len(missing)} tensors, for example {min(missing)!r}")


def _stored(folder: Path) -> dict[str, _Stored]:
    """What the headers say about all tensors of a checkpoint, under the names that they usually have."""
    found: dict[str, _Stored] = {}
    for file in _weight_files(folder):
        with _opened(file) as tensors:
            for name in tensors.keys():  # noqa: SIM118 (not a dict)
                if name in found:
                    raise UnsupportedModelError(f"{file} and {found[name].file.name} both have a tensor {name!r}")
                part = tensors.get_slice(name)
                found[name] = _Stored(file, name, part.get_shape(), part.get_dtype())
    # Whatever wrapped the decoder when it was saved is in front of all names; `model.` is missing if nothing did.
    first = next((name for name in found if name.endswith(FIRST_NORM)), f"model.{FIRST_NORM}")
    prefix = first.removesuffix(FIRST_NORM)
    head = f"{prefix.removesuffix('model.')}lm_head.weight"
    usual = {name: f"model.{name[len(prefix) :]}" for name in found if name.startswith(prefix)} | {
        head: "lm_head.weight"
    }
    stored = {usual.get(name, name): tensor for name, tensor in found.items()}
    return {name: tensor for name, tensor in stored.items() if not DERIVED.fullmatch(name)}


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """A safetensors file. Its library holds the header to the size of the file."""
    try:
        with file.open("rb") as raw:
            if int.from_bytes(raw.read(8), "little") > MAX_HEADER_BYTES:
                raise SafetensorError(f"its header claims more than {MAX_HEADER_BYTES} bytes")
        with safe_open(file, framework="pt") as tensors:
            yield tensors
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
        for name in weight_map.values():
            if not isinstance(name, str) or not re.fullmatch(r"[\w.-]{1,200}\.safetensors", name):
                raise ValueError(f"{index} names {name!r:.80}: expected a *.safetensors file in the folder itself")
            if not (folder / name).is_file():
                raise FileNotFoundError(f"{folder / name} is missing, but {index.name} names it")
        return [folder / name for name in sorted(set(weight_map.values()))]
    if pickles := sorted(p.name for kind in ("*.bin", "*.pt", "*.pth") for p in folder.glob(kind)):
        raise UnsupportedModelError(
            f"{folder} has its weights as pickle ({', '.join(pickles)}). Such a file can run any code when it is "
            "opened, so it is never loaded. If you trust its author, convert it where transformers is installed: "
            "AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new_folder)"
        )
    raise FileNotFoundError(f"{folder} has no model.safetensors and no model.safetensors.index.json")
