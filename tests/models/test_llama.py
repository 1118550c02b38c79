"""The decoder's parts against float64 formulas, and its three ways to run against each other."""

import pytest
import torch

from yaie.kernels import model_ops
from yaie.kernels.kv_cache import KVCacheManager
from yaie.kernels.model_ops import rms_norm
from yaie.kernels.ops import TorchOperations
from yaie.models.batch import Batch
from yaie.models.config import ModelConfig
from yaie.models.llama import DecoderBlock, Llama, generate_greedy

SIZES = {"vocab_size": 97, "hidden_size": 56, "intermediate_size": 80, "num_layers": 3, "max_position_embeddings": 512}
MODELS = {
    "groups of 1": ModelConfig(**SIZES, num_heads=4, num_kv_heads=4, head_dim=14),
    "groups of 4, biases": ModelConfig(
        **SIZES,
        num_heads=4,
        num_kv_heads=1,
        head_dim=20,
        attention_bias=True,
        attention_output_bias=True,
        mlp_bias=True,
    ),
    "groups of 7, norms of query and key, tied": ModelConfig(
        **SIZES, num_heads=14, num_kv_heads=2, head_dim=16, qk_norm=True, tie_word_embeddings=True
    ),
}


def random_model(config, seed=0):
    """Every weight random, norms and biases too, and large enough that attention is far from uniform."""
    torch.manual_seed(seed)
    model = Llama(config)
    for name, view in model.checkpoint_views().items():
        noise = torch.randn(view.shape)
        view.copy_(1 + 0.3 * noise if "norm" in name else 0.2 * noise)
    return model


@pytest.fixture(params=MODELS)
def model(request):
    return random_model(MODELS[request.param])


def random_tokens(count, seed=0):
    return torch.randint(SIZES["vocab_size"], (count,), generator=torch.Generator().manual_seed(seed)).tolist()


class Pages:
    """A pool in which blocks are handed out in a random order and every unwritten slot is NaN."""

    def __init__(self, model, block_size, num_tokens=600):
        self.model, config = model, model.config
        num_blocks = num_tokens // block_size
        self.kv = KVCacheManager(
            num_blocks, block_size, config.num_kv_heads, config.head_dim, torch.float32, config.num_layers
        )
        self.kv.key_cache.fill_(float("nan"))
        self.kv.value_cache.fill_(float("nan"))
        order = torch.randperm(num_blocks, generator=torch.Generator().manual_seed(1)).tolist()
        self.kv.free_block_list[:] = order

    def step(self, new):
        """Run `{request: its next tokens}` as one batch; the logits of each request's tokens."""
        token_ids, positions, slots, query_lens = [], [], [], []
        for request, tokens in new.items():
            start = self.kv.context_lens.get(request, 0)
            if start:
                self.kv.append_tokens(request, len(tokens))
            else:
                self.kv.allocate_blocks(request, len(tokens))
            end = start + len(tokens)
            token_ids += tokens
            positions += range(start, end)
            slots += self.kv.slot_mapping(request, start, end)
            query_lens.append(len(tokens))
        tables = [self.kv.block_tables[request] for request in new]
        width = max(map(len, tables))
        batch = Batch(
            torch.tensor(token_ids),
            torch.tensor(positions),
            torch.tensor(slots),
            torch.tensor([table + [0] * (width - len(table)) for table in tables]),
            torch.tensor([self.kv.context_lens[request] for request in new]),
            query_lens,
        )
        logits = self.model.logits(self.model(batch, self.kv))
        return dict(zip(new, logits.split(query_lens), strict=True))

    def run(self, steps):
        """Run several batches; all logits of each request in order."""
        parts = {}
        for new in steps:
            for request, logits in self.step(new).items():
                parts.setdefault(request, []).append(logits)
        return {request: torch.cat(logits) for request, logits in parts.items()}


def chunks(tokens, size):
    return [tokens[start : start + size] for start in range(0, len(tokens), size)]


def assert_naive(model, tokens, logits, atol=1e-4):
    expected = model.forward_naive(torch.tensor(tokens))
    assert expected.std() > 0.3  # else the tolerance would prove little
    torch.testing.assert_close(logits, expected, rtol=0, atol=atol)


# --- parts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (3, 17), (2, 5, 64)])
def test_rms_norm_is_the_formula(shape):
    """Catches a mean subtracted, a sum for the mean, and eps outside the root."""
    x, weight = torch.randn(shape), torch.randn(shape[-1])
    for scale in (1.0, 1e-3):  # where x is small, eps matters
        wide = x.double() * scale
        expected = wide / torch.sqrt((wide**2).mean(-1, keepdim=True) + 1e-5) * weight
        torch.testing.assert_close(rms_norm(x * scale, weight, 1e-5).double(), expected, rtol=1e-5, atol=1e-6)
    assert rms_norm(torch.zeros(shape), weight, 1e-5).isfinite().all()


def test_rms_norm_in_half_precision_sums_in_float32():
    """Catches squares that overflow: 300 squared is more than float16 holds."""
    x = torch.full((2, 8), 300.0, dtype=torch.float16)
    out = rms_norm(x, torch.ones(8, dtype=torch.float16), 1e-5)
    assert out.dtype == torch.float16
    torch.testing.assert_close(out, torch.ones_like(out))


def test_the_mlp_is_the_formula():
    """Catches gate and up swapped, and the sigmoid without its factor."""
    config = MODELS["groups of 1"]
    block = random_model(config).layers[0]
    block.attention.forward = lambda x, *_: torch.zeros_like(x)
    change, residual = torch.randn(2, 5, config.hidden_size)
    x = rms_norm(rms_norm_input := change + residual, block.post_attention_norm, block.eps).double()
    gate, up = block.gate_up_proj.weight.double().chunk(2)
    z = x @ gate.T
    expected = (z / (1 + (-z).exp()) * (x @ up.T)) @ block.down_proj.weight.double().T
    out = block(change, residual, None, None, None, TorchOperations())
    torch.testing.assert_close(out.double(), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(residual, rms_norm_input)


def test_the_block_adds_to_a_stream_that_is_never_normalised():
    """Catches a residual taken after the norm, left out, or not handed on from attention to the MLP."""
    config = MODELS["groups of 4, biases"]
    block = DecoderBlock(config).requires_grad_(False)
    change, residual = 5 * torch.randn(2, 3, config.hidden_size)
    hidden, seen = change + residual, []

    def attention(x, *_):
        seen.append(x)
        return torch.full_like(x, 2.0)

    block.attention.forward = attention
    block.input_norm.mul_(3)
    block.post_attention_norm.mul_(-2)
    block.down_proj.weight.zero_()
    block.down_proj.bias.fill_(10)
    operations = TorchOperations()
    out = block(change, residual, None, None, None, operations)
    torch.testing.assert_close(residual, hidden + 2)
    torch.testing.assert_close(out, torch.full_like(out, 10))
    torch.testing.assert_close(seen[0], rms_norm(hidden, block.input_norm, block.eps))
    operations.silu_mul = lambda gate_up: (seen.append(gate_up), torch.zeros(3, config.intermediate_size))[1]
    block(out, residual, None, None, None, operations)
    normed = rms_norm(hidden + 2 + 10 + 2, block.post_attention_norm, block.eps)
    torch.testing.assert_close(seen[-1], block.gate_up_proj(normed))


def test_parts_are_looked_up_when_they_are_called(monkeypatch):
    """Catches a model that holds on to functions and blocks which have been replaced since."""
    model = random_model(MODELS["groups of 7, norms of query and key, tied"])
    calls = []
    for name in ("rms_norm", "silu_mul"):
        original = getattr(model_ops, name)
        monkeypatch.setattr(model_ops, name, lambda *a, n=name, f=original: (calls.append(n), f(*a))[1])
    forward = DecoderBlock.forward
    monkeypatch.setattr(DecoderBlock, "forward", lambda *a: (calls.append("block"), forward(*a))[1])
    model.forward_naive(torch.tensor([1, 2]))
    layers = model.config.num_layers
    assert (calls.count("rms_norm"), calls.count("silu_mul"), calls.count("block")) == (4 * layers + 1, layers, layers)


def test_weights_that_are_put_in_later_count():
    """Catches a model that goes on with the weights, or in the dtype, that it had when it was first run."""
    model, tokens = random_model(MODELS["groups of 1"]), torch.tensor([1, 2, 3])
    before = model.forward_naive(tokens)
    model.layers[0].attention.qkv_proj.weight.mul_(-3)
    changed = model.forward_naive(tokens)
    assert not torch.allclose(before, changed)
    torch.testing.assert_close(model.double().forward_naive(tokens), changed, rtol=1e-3, atol=1e-3)
    assert model.layers[0].attention.qkv_proj.weight.dtype == torch.float64
    model.layers[0].down_proj.weight = torch.nn.Parameter(model.layers[0].down_proj.weight * 0)
    assert not torch.allclose(model.forward_naive(tokens), changed)
    before = model.layers[1].gate_up_proj.weight
    model.to_empty(device="cpu")
    assert model.layers[1].gate_up_proj.weight is model.layers[1].gate_up_proj._parameters["weight"]


# --- the three ways to run ----------------------------------------------------------------------------------


def test_naive_forward_is_causal(model):
    """Catches a missing mask: a later token would change the logits of earlier ones."""
    tokens = random_tokens(12)
    whole = model.forward_naive(torch.tensor(tokens))
    torch.testing.assert_close(model.forward_naive(torch.tensor(tokens[:7])), whole[:7], rtol=0, atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 7, 40])
def test_contiguous_forward_is_the_naive_one(model, chunk):
    """Catches positions that start again at 0 and a mask without the length of the past."""
    tokens = random_tokens(40)
    past, parts = None, []
    for part in chunks(tokens, chunk):
        before = [key.clone() for key, _ in past or []]
        logits, grown = model.forward_contiguous(torch.tensor(part), past)
        assert all(map(torch.equal, before, [key for key, _ in past or []]))  # a caller may branch from it
        past = grown
        parts.append(logits)
    assert_naive(model, tokens, torch.cat(parts))
    assert past[0][0].shape == (40, model.config.num_kv_heads, model.config.head_dim)


@pytest.mark.parametrize("block_size", [1, 16])
@pytest.mark.parametrize("chunk", [1, 7, 16, 100])
def test_paged_forward_is_the_naive_one(model, block_size, chunk):
    """Catches wrong slots, pages read in another order, and reads beyond the context (they would be NaN)."""
    tokens = random_tokens(50)
    logits = Pages(model, block_size).run({"a": part} for part in chunks(tokens, chunk))
    assert_naive(model, tokens, logits["a"])


@pytest.mark.parametrize("block_size", [1, 16])
def test_prefill_chunks_and_decodes_in_one_batch(model, block_size):
    """Catches sequences that see each other's tokens, whatever their lengths and their order in the batch."""
    tokens = {name: random_tokens(n, seed=n) for name, n in {"a": 33, "b": 17, "c": 16, "d": 70, "e": 1}.items()}
    plan = {  # request: how many tokens in each step; 0 means that it is not in the batch
        "a": [30, 1, 1, 1],
        "b": [0, 5, 11, 1],
        "c": [15, 1, 0, 0],
        "d": [40, 0, 1, 29],
        "e": [0, 0, 0, 1],
    }
    taken = dict.fromkeys(tokens, 0)
    steps = []
    for step in range(4):
        new = {}
        for name, counts in plan.items():
            if count := counts[step]:
                new[name] = tokens[name][taken[name] : taken[name] + count]
                taken[name] += count
        steps.append(new if step % 2 else dict(reversed(new.items())))
    assert all(taken[name] == len(tokens[name]) for name in tokens)
    logits = Pages(model, block_size).run(steps)
    for name in tokens:
        assert_naive(model, tokens[name], logits[name])


@pytest.mark.parametrize("block_size", [1, 16])
def test_requests_that_share_the_pages_of_a_prefix(model, block_size):
    """Catches a shared prefix that is read once and merged wrongly with what each request adds."""
    prefix = random_tokens(160, seed=7)
    tails = {f"r{i}": random_tokens(n, seed=20 + i) for i, n in enumerate([20, 9, 33, 1, 17])}
    pages = Pages(model, block_size)
    pages.step({"parent": prefix})
    for name in tails:
        pages.kv.fork("parent", name)
    steps = [{name: tail[:1] for name, tail in tails.items()}]  # a batch of decodes
    steps.append({name: tail[1:6] for name, tail in tails.items() if len(tail) > 1})
    steps.append({name: tail[6:] for name, tail in tails.items() if len(tail) > 6})
    logits = pages.run(steps)
    for name, tail in tails.items():
        expected = model.forward_naive(torch.tensor(prefix + tail))[len(prefix) :]
        torch.testing.assert_close(logits[name], expected, rtol=0, atol=1e-4)


def test_half_precision_agrees_with_float32():
    """Catches positions, softmax or sums in half precision: at position 400 they would be far off."""
    model = random_model(MODELS["groups of 4, biases"])
    tokens = random_tokens(400)
    expected = model.forward_naive(torch.tensor(tokens))
    logits = Pages(model.bfloat16(), 16, 800).run({"a": part} for part in chunks(tokens, 150))["a"]
    assert logits.dtype == torch.bfloat16
    assert (logits.float() - expected).abs().mean() < 0.03 * expected.abs().mean()


# --- generation ---------------------------------------------------------------------------------------------


def test_cached_generation_is_the_naive_one(model):
    """Catches a cache that changes the answer."""
    sequence = random_tokens(9)
    for _ in range(15):
        sequence.append(int(model.forward_naive(torch.tensor(sequence))[-1].argmax()))
    assert generate_greedy(model, sequence[:9], 15) == sequence[9:]


def test_generation_gives_only_the_newest_token_to_the_model(model, monkeypatch):
    """Catches generation that is right but computes the whole text again for every token."""
    lengths = []
    forward = Llama.forward_contiguous
    monkeypatch.setattr(
        Llama,
        "forward_contiguous",
        lambda self, ids, past=None: (lengths.append(len(ids)), forward(self, ids, past))[1],
    )
    generate_greedy(model, random_tokens(9), 4)
    assert lengths == [9, 1, 1, 1]


def test_generation_ends_after_a_stop_token(model):
    """Catches text that runs on behind its end, and an end that is lost."""
    prompt = random_tokens(9)
    free = generate_greedy(model, prompt, 12)
    stop = free[5]
    assert generate_greedy(model, prompt, 12, {stop}) == free[: free.index(stop) + 1]
    assert generate_greedy(model, prompt, 0) == []


def test_weights_that_are_views_fill_the_fused_matrices(model):
    """Catches query, key and value in another order, or a checkpoint name that fills nothing."""
    for name, view in model.checkpoint_views().items():
        before = [parameter.clone() for parameter in model.parameters()]
        view.add_(1)
        changed = sum((b != a).sum().item() for b, a in zip(before, model.parameters(), strict=True))
        assert changed == view.numel(), name
