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

from yaie.kernels import checks
from yaie.models.config import ModelConfig, UnsupportedModelError, read_json
from yaie.models.llama import Llama
from yaie.models.tokenizer import Tokenizer
from yaie.parallel.group import ALONE, Group
from yaie.parallel.shards import part_of

TINY = Path(__file__).parent / "tiny"
HUB_FILES = ["*config.json", "tokenizer.json", "special_tokens_map.json", "chat_template.jinja"]
HUB_FILES += ["model*.safetensors", "model.safetensors.index.json"]
# Of weights, by their names in files.
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
FIRST_NORM = "layers.0.input_layernorm.weight"  # every decoder has one, behind the name of the decoder
MAX_HEADER_BYTES = 4 * 2**20  # the largest models have some 150 KB
# Old Llama checkpoints store these frequencies; they follow from config.json.
DERIVED = re.compile(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq")


def load_model(
    name_or_path: str | Path,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    group: Group = ALONE,
) -> tuple[Llama, ModelConfig, Tokenizer]:
    """Load a checkpoint in the format of Hugging Face; weights are converted to `dtype`. A rank of a `group` reads its
    part of every weight, and no more.

    `name_or_path` is a folder; or "tiny", the model that ships with YAIE; or a name on the Hugging Face Hub such as
    "Qwen/Qwen3-0.6B", fetched with `huggingface_hub` (only then is the network used).

    Raises:
        FileNotFoundError: the folder or one of its files is missing, or the name could not be fetched.
        UnsupportedModelError: the checkpoint asks for something that the decoder does not compute.
        ValueError: a file is damaged, or an argument is wrong.
    """
    folder = find_folder(name_or_path)
    config, tokenizer = ModelConfig.from_folder(folder), Tokenizer(folder)
    if (largest := max((tokenizer.largest_id, *tokenizer.eos_token_ids))) >= config.vocab_size:
        known = f"config.json has vocab_size={config.vocab_size}"
        raise UnsupportedModelError(f"{folder}: tokenizer.json or eos_token_id has the id {largest}, but {known}")
    return load_weights(folder, config, dtype, device, group), config, tokenizer


def find_folder(name_or_path: str | Path) -> Path:
    """The folder that a name stands for; see `load_model`."""
    if not isinstance(name_or_path, str | os.PathLike):
        raise TypeError(f"a model is a folder or a name (str or Path), got {name_or_path!r:.80}")
    name = str(name_or_path)
    path = Path(name if "\0" in name else os.path.expanduser(name))  # which asks the system who ~name is
    if name == "tiny":
        return TINY
    if name and os.path.isdir(path):  # Path("") is the current folder; path.is_dir() raises for a name too long
        return path
    if name and os.path.exists(path):
        raise ValueError(f"{path} is a file; give the folder that holds config.json, *.safetensors and tokenizer.json")
    if isinstance(name_or_path, Path) or not re.fullmatch(r"[\w-][\w.-]{0,95}/[\w-][\w.-]{0,95}", name):
        raise FileNotFoundError(
            f"there is no folder {name!r:.300}. Give a folder, 'tiny', or a name on the Hugging Face Hub (owner/name)"
        )
    return _fetch(name)


def _fetch(name: str) -> Path:
    try:
        import huggingface_hub

        return Path(huggingface_hub.snapshot_download(name, allow_patterns=HUB_FILES))
    except Exception as error:  # no network, no such name, gated, disk full: each library below has its own classes
        absent = isinstance(error, ImportError)
        why = "needs a package: pip install 'yaie[hub]'" if absent else f"failed ({type(error).__name__}: {error})"
        raise FileNotFoundError(
            f"there is no folder {name!r}, and fetching that name from the Hugging Face Hub {why}\n"
            f"On a machine with a network, run: hf download {name} --local-dir my_model\n"
            "then copy that folder here and pass its path: LLM('path/to/my_model')"
        ) from error


def load_weights(
    folder: Path,
    config: ModelConfig,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    group: Group = ALONE,
) -> Llama:
    """A decoder with the weights of a folder. Every weight must be there, with the right shape, and no other.

    The headers of the files are compared with `config` before any weight gets its memory. Besides the model itself,
    about one tensor of the checkpoint is in memory at a time.
    """
    checks.require(dtype in DTYPES.values(), f"dtype must be one of {', '.join(map(str, DTYPES.values()))}", dtype)
    checks.device(device)
    stored = _stored(folder)
    tied = config.tie_word_embeddings
    if tied:  # one tensor, stored under either name or under both
        twins = {HEAD: EMBEDDING, EMBEDDING: HEAD}
        stored = {twins[name]: stored[name] for name in twins if name in stored} | stored
    layers = {match[1] for name in stored if (match := re.match(r"model\.layers\.(\d+)\.", name))}
    if len(layers) != config.num_layers:  # before so many are built
        raise UnsupportedModelError(
            f"{folder}: config.json has num_hidden_layers={config.num_layers}, but the weights have {len(layers)}"
        )
    with torch.device("meta"):  # no memory and no random numbers for weights that are overwritten
        whole = Llama(config)
        model = whole if group.size == 1 else Llama(config, group)
    expected = whole.checkpoint_views()
    _compare(folder, config, stored, expected | {HEAD: expected[EMBEDDING]} if tied else expected)
    # What `to_empty` does, which imports a compiler's worth of modules for it, in 0.3 s.
    model = model._apply(lambda each: torch.empty(each.shape, dtype=dtype, device=device)).eval()
    if tied:
        model.lm_head = model.embed_tokens.weight

    def read(name: str) -> Tensor:
        part = stored[name].part
        return part[part_of(name, part.get_shape(), config.num_kv_heads, group.rank, group.size)]

    for name, view in model.checkpoint_views().items():
        part = read(name)
        if part.shape != view.shape:  # a vocabulary that is padded, or a bias that another rank adds
            view.zero_()
        view[: len(part)].copy_(part)
    if tied and not torch.equal((head := read(HEAD)).to(model.lm_head), model.lm_head[: len(head)]):
        raise UnsupportedModelError(f"{folder}: tie_word_embeddings=True, but {HEAD} differs from {EMBEDDING}")
    return model


class _Stored(NamedTuple):
    """A tensor in a file: the name there, and `part`, which knows dtype and shape and reads the numbers when asked."""

    file: Path
    name: str
    part: Any


def _compare(folder: Path, config: ModelConfig, stored: Mapping[str, _Stored], expected: Mapping[str, Tensor]) -> None:
    """Refuse weights that are not those of `config`."""
    for name, (file, there, part) in stored.items():
        if name not in expected:
            raise UnsupportedModelError(
                f"{file} has a tensor {there!r}, which {config.architecture} does not have with this config.json: "
                "leaving it out would change results"
            )
        got, shape = (part.get_dtype(), part.get_shape()), list(expected[name].shape)
        if got[1] != shape or got[0] not in DTYPES:
            raise UnsupportedModelError(
                f"{file}: {there!r} is {got[0]} {got[1]}, but config.json asks for {shape}, in {', '.join(DTYPES)}"
            )
    if missing := expected.keys() - stored.keys():
        raise UnsupportedModelError(f"{folder} lacks {len(missing)} tensors, for example {min(missing)!r}")


def _stored(folder: Path) -> dict[str, _Stored]:
    """All tensors of a checkpoint, under the names that they usually have."""
    found: dict[str, _Stored] = {}
    for file in _weight_files(folder):
        with _opened(file) as tensors:
            for name in tensors.keys():  # noqa: SIM118 (not a dict)
                if name in found:
                    raise UnsupportedModelError(f"{file} and {found[name].file.name} both have a tensor {name!r}")
                found[name] = _Stored(file, name, tensors.get_slice(name))
    # Whatever wrapped the decoder when it was saved is in front of all names; `model.` is missing if nothing did.
    first = next((name for name in found if name.endswith(FIRST_NORM)), f"model.{FIRST_NORM}")
    prefix = first.removesuffix(FIRST_NORM)
    usual = {name: f"model.{name[len(prefix) :]}" for name in found if name.startswith(prefix)}
    usual[prefix.removesuffix("model.") + HEAD] = HEAD
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
