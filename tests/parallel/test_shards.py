"""Which part of a model a rank has: without processes, ranks are threads that add up their numbers."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors.torch import save_file

from yaie.kernels.kv_cache import KVCacheManager
from yaie.models.batch import Batch
from yaie.models.config import ModelConfig
from yaie.models.llama import Llama
from yaie.models.loader import load_weights
from yaie.parallel.group import Group
from yaie.parallel.shards import local_config, part_of, span

SMALL = {
    "vocab_size": 61,  # no multiple of anything
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_layers": 2,
    "num_heads": 8,
    "num_kv_heads": 4,
    "head_dim": 8,
    "max_position_embeddings": 64,
}
MODELS = {
    "no grouping": {"num_kv_heads": 8},
    "groups of 2": {},
    "groups of 4, tied": {"num_kv_heads": 2, "tie_word_embeddings": True},
    "one KV head, bias": {"num_kv_heads": 1, "attention_bias": True},
    "qwen3": {"qk_norm": True, "tie_word_embeddings": True, "architecture": "Qwen3ForCausalLM"},
    "every bias": {"attention_bias": True, "attention_output_bias": True, "mlp_bias": True},
}


class Thread(Group):
    """A rank that is a thread. It also counts its sums."""

    def __init__(self, rank, size, meeting, shared):
        self.rank, self.size, self.meeting, self.shared, self.num_sums = rank, size, meeting, shared, 0

    def exchange(self, x):
        self.shared[self.rank] = x.clone()
        self.meeting.wait(30)
        parts = [self.shared[rank] for rank in range(self.size)]
        self.meeting.wait(30)
        return parts

    def all_reduce(self, x):
        self.num_sums += 1
        return sum(self.exchange(x))

    def all_gather(self, x):
        return torch.cat(self.exchange(x), dim=-1)


def on_ranks(size, function):
    """What `function(group)` returns on each of `size` ranks."""
    meeting, shared = threading.Barrier(size), {}
    with ThreadPoolExecutor(size) as threads:
        return list(threads.map(function, [Thread(rank, size, meeting, shared) for rank in range(size)]))


def save(folder, config):
    """A checkpoint with random weights: the model, its file's folder."""
    torch.manual_seed(1)
    model = Llama(config).double()
    for view in model.checkpoint_views().values():
        view.copy_(torch.randn_like(view) / 4)
    save_file({name: view.clone() for name, view in model.checkpoint_views().items()}, folder / "model.safetensors")
    return model


def logits_of(model):
    """Through pages, as the engine runs it: a prompt of 9 tokens beside one of 4."""
    kv = KVCacheManager(8, 4, model.local.num_kv_heads, model.local.head_dim, torch.float64, model.local.num_layers)
    lengths, slots = [9, 4], [*range(9), *range(12, 16)]
    positions = torch.tensor([*range(9), *range(4)])
    token_ids = torch.arange(13) * 17 % 61
    tables = torch.tensor([[0, 1, 2], [3, 0, 0]])
    return model.logits(
        model(Batch(token_ids, positions, torch.tensor(slots), tables, torch.tensor(lengths), lengths), kv)
    )


@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize("name", MODELS)
def test_ranks_compute_what_one_computes(tmp_path, name, size):
    """Would catch a part that is another rank's, a head beside the wrong KV head, a bias that is added twice, and a sum
    too many: two in each layer and one for the embedding is what a step may cost.
    """
    config = ModelConfig(**SMALL | MODELS[name])
    expected = logits_of(save(tmp_path, config))

    def run(group):
        model = load_weights(tmp_path, config, torch.float64, "cpu", group)
        num_weights = sum(parameter.numel() for parameter in {id(p): p for p in model.parameters()}.values())
        return logits_of(model), group.num_sums, num_weights

    for logits, num_sums, num_weights in on_ranks(size, run):
        assert (logits - expected).abs().max() < 1e-6 * expected.abs().max()
        assert num_sums == 2 * config.num_layers + 1
        assert num_weights < sum(view.numel() for view in Llama(config).checkpoint_views().values()) * 0.75


@pytest.mark.parametrize("size", [1, 2, 3, 4, 8])
def test_parts_make_the_whole(size):
    """Would catch a row that no rank has, or two."""
    for count in (1, 5, 24, 61):
        assert [i for rank in range(size) for i in range(count)[span(count, rank, size)]] == list(range(count))


def test_parts_by_name():
    part = lambda name, *shape, rank=1: part_of(f"model.layers.0.{name}", shape, 2, rank, 4)  # noqa: E731
    assert part("self_attn.q_proj.weight", 64, 32) == (slice(16, 32), slice(0, 32))
    assert part("mlp.down_proj.weight", 32, 48) == (slice(0, 32), slice(12, 24))
    assert part("self_attn.o_proj.bias", 32) == (slice(0, 0),)
    assert part("self_attn.o_proj.bias", 32, rank=0) == (slice(0, 32),)
    assert part("input_layernorm.weight", 32) == (slice(0, 32),)
    # 2 KV heads for 4 ranks: two ranks each
    spans = [part("self_attn.k_proj.weight", 16, 32, rank=rank)[0] for rank in range(4)]
    assert spans == [slice(0, 8), slice(0, 8), slice(8, 16), slice(8, 16)]


@pytest.mark.parametrize(
    ("changes", "size", "said"),
    [
        ({}, 3, "must divide the model's num_heads=8, got 3"),
        ({"num_heads": 48}, 3, "num_kv_heads=4, or be a multiple of it, got 3"),
        ({"intermediate_size": 49}, 2, "must divide the model's intermediate_size=49, got 2"),
        ({}, 16, "num_heads=8, got 16"),
        ({}, 0, "tensor_parallel"),
        ({}, 2.0, "tensor_parallel"),
        ({}, True, "tensor_parallel"),
    ],
)
def test_what_cannot_be_split_is_refused(changes, size, said):
    with pytest.raises(ValueError, match=said):
        local_config(ModelConfig(**SMALL | changes), size)
