"""A model that can be checked by hand: the next token follows from all tokens that it finds in its pages."""

from dataclasses import fields
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from yaie.engine.prefix_cache import PrefixCache
from yaie.kernels import radix_tree

VOCAB_SIZE = 61


def next_token_key(tokens: np.ndarray) -> int:
    """Depends on every token and its place, so that a page that is lost, swapped or another's changes it."""
    places = np.arange(1, len(tokens) + 1)
    return int((tokens + 1) @ (places * places + 17 * places)) * 2654435761 % 2**32 % 1009


class FakeModel:
    """Stores token ids where keys belong and reads them back through the block tables.

    `poison`: a token that makes numbers NaN from its position on. `fail_on`: one that makes the step raise.
    """

    dtype = torch.float64
    device = torch.device("cpu")
    poison = fail_on = None

    def __init__(self, max_position_embeddings: int = 512) -> None:
        self.config = SimpleNamespace(
            vocab_size=VOCAB_SIZE,
            num_layers=1,
            num_kv_heads=1,
            head_dim=1,
            max_position_embeddings=max_position_embeddings,
        )
        self.table = torch.randn(1009, VOCAB_SIZE, generator=torch.Generator().manual_seed(0))
        self.num_computed = 0

    def __call__(self, batch, kv, operations) -> torch.Tensor:
        self.num_computed += len(batch.token_ids)
        keys = kv.key_cache.view(-1)
        assert batch.slot_mapping.unique().numel() == batch.slot_mapping.numel(), "two tokens in one slot"
        keys[batch.slot_mapping] = batch.token_ids.double()
        if self.fail_on is not None and self.fail_on in batch.token_ids:
            raise ZeroDivisionError("the model failed on purpose")
        stored = keys.numpy()
        hidden = np.zeros(len(batch.token_ids))
        end = 0
        for table, context_len, query_len in zip(
            batch.block_tables.numpy(), batch.context_lens.tolist(), batch.query_lens, strict=True
        ):
            end += query_len
            positions = batch.positions[end - query_len : end].tolist()
            assert positions == list(range(context_len - query_len, context_len))
            at = np.arange(context_len)
            tokens = stored[table[at // kv.block_size] * kv.block_size + at % kv.block_size].astype(np.int64)
            assert tokens[-query_len:].tolist() == batch.token_ids[end - query_len : end].tolist()
            hidden[end - 1] = next_token_key(tokens)
            if self.poison is not None and self.poison in tokens:
                hidden[end - 1] = np.nan
        return torch.from_numpy(hidden)[:, None]

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.table[hidden[:, 0].nan_to_num().long()]

    def row(self, tokens: list[int]) -> torch.Tensor:
        """The logits after these tokens, computed without an engine."""
        return self.table[next_token_key(np.array(tokens))]

    def greedy(self, prompt: list[int], max_tokens: int) -> list[int]:
        """What a greedy request must get, computed without an engine."""
        tokens = list(prompt)
        while len(tokens) < len(prompt) + max_tokens:
            tokens.append(int(self.row(tokens).argmax()))
        return tokens[len(prompt) :]


class FakeDetokenizer:
    """Holds back a capital letter from A to M until the next token, as a real one does with half a character."""

    def __init__(self) -> None:
        self.held = ""

    def add(self, token: int) -> str:
        text = self.held + (FakeTokenizer.alphabet[token] if token else "")
        self.held = text[-1:] if "A" <= text[-1:] <= "M" else ""
        return text[: len(text) - len(self.held)]

    def finish(self) -> str:
        text, self.held = self.held, ""
        return text


class FakeTokenizer:
    """Token 0 is the end; the others are letters and digits, one character each."""

    alphabet = "?abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01234567"
    eos_token_ids = (0,)

    def encode(self, text: str) -> list[int]:
        text.encode()  # a ValueError for half a surrogate pair, as from ours
        return [self.alphabet.index(letter) for letter in text]

    def decode(self, ids) -> str:
        return "".join(self.alphabet[token] for token in ids if token)

    def detokenizer(self):
        return FakeDetokenizer()

    def apply_chat_template(self, messages) -> list[int]:
        return self.encode("".join(message["content"] for message in messages))


def everything_in(cache: PrefixCache) -> list:
    """Every node with its edge, pages, times, hits and locks, and the clock, the sizes, the holders and the queue."""
    nodes = []
    for node in radix_tree.iter_nodes(cache.root):
        span = {field.name: getattr(node.payload, field.name) for field in fields(node.payload)}
        nodes.append((node, node.parent, node.key, node.edge.tolist(), span | {"pages": span["pages"].tolist()}))
    rest = {name: value for name, value in vars(cache).items() if name != "root"}
    return [nodes, rest | {"_holders": dict(cache._holders), "_queue": list(cache._queue)}]


@pytest.fixture
def dump():
    """All that a prefix cache knows, to see that nothing changed."""
    return everything_in


@pytest.fixture
def fake():
    """(model, config, tokenizer), as `LLM` takes them."""
    model = FakeModel()
    return model, model.config, FakeTokenizer()
