"""The decoder and what loads it: Hugging Face folders with config.json, safetensors and tokenizer.json."""

from yaie.models.batch import Batch as Batch
from yaie.models.config import ModelConfig as ModelConfig
from yaie.models.llama import Llama as Llama
from yaie.models.llama import generate_greedy as generate_greedy
from yaie.models.loader import load_model as load_model
