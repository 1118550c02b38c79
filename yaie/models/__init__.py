"""The decoder and what loads it: Hugging Face folders with config.json, safetensors and tokenizer.json."""

from yaie.models.batch import Batch
from yaie.models.config import ModelConfig, UnsupportedModelError
from yaie.models.llama import Llama, generate_greedy
from yaie.models.loader import load_model
from yaie.models.tokenizer import Detokenizer, Tokenizer

__all__ = [
    "Batch",
    "Detokenizer",
    "Llama",
    "ModelConfig",
    "Tokenizer",
    "UnsupportedModelError",
    "generate_greedy",
    "load_model",
]
