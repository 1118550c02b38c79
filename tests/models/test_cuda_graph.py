"""Decode steps in buckets: padding that changes nothing. On a GPU the steps are captured in CUDA graphs.

Without a GPU the padded batches run in the emulator as they are (`eager`), which tests buckets and padding, but not the
capture.
"""

import gc

import pytest
import torch

from yaie.engine.llm import LLM
from yaie.engine.sampling_params import SamplingParams
from yaie.kernels import ops
from yaie.kernels.kv_cache import KVCacheManager
from yaie.models import cuda_graph
from yaie.models.batch import Batch
from yaie.models.config import ModelConfig
from yaie.models.cuda_graph import DecodeGraphs, bucket_for, bucket_sizes, fill
from yaie.models.llama import Llama

ON_GPU = torch.cuda.is_available()
DEVICE, BACKEND = ("cuda", "cuda") if ON_GPU else ("cpu", "emulator")
CAPTURE = None if ON_GPU else cuda_graph.eager


def test_bucket_sizes():
    """Would catch a largest batch without a bucket, and one that is larger than the engine ever runs."""
    assert bucket_sizes(1) == [1]
    assert bucket_sizes(3) == [1, 2, 3]
    assert bucket_sizes(8) == [1, 2, 4, 8]
    assert bucket_sizes(20) == [1, 2, 4, 8, 16, 20]


@pytest.mark.parametrize("num_seqs", range(1, 21))
def test_bucket_for(num_seqs):
    """Would catch a bucket that is too small (requests lost) or needlessly large (padding computed for nothing)."""
    sizes = bucket_sizes(20)
    bucket = bucket_for(num_seqs, sizes)
    assert bucket == min(size for size in sizes if size >= num_seqs)
    assert bucket_for(21, sizes) is None


def decode_batch(num_seqs, width, device="cpu"):
    def draw(*shape):
        return torch.randint(1, 50, shape, device=device)

    return Batch(draw(num_seqs), draw(num_seqs), draw(num_seqs), draw(num_seqs, width), draw(num_seqs), [1] * num_seqs)


def test_fill_copies_real_rows_and_pads_the_rest():
    """Would catch padding that stores a key, or sees pages, or names a token that no table has."""
    static, batch = decode_batch(4, 6), decode_batch(3, 2)
    places = [field.data_ptr() for field in vars(static).values() if isinstance(field, torch.Tensor)]
    fill(static, batch)
    for name in ("token_ids", "positions", "slot_mapping", "context_lens"):
        assert torch.equal(getattr(static, name)[:3], getattr(batch, name)), name
    assert torch.equal(static.block_tables[:3, :2], batch.block_tables)
    assert (static.token_ids[3], static.slot_mapping[3], static.context_lens[3]) == (0, -1, 0)
    assert places == [f.data_ptr() for f in vars(static).values() if isinstance(f, torch.Tensor)]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = ModelConfig(
        vocab_size=90,
        hidden_size=64,
        intermediate_size=96,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        head_dim=16,
        max_position_embeddings=128,
    )
    return Llama(config).to(DEVICE)


@pytest.mark.parametrize("num_seqs", [1, 3, 5])
def test_a_padded_step_is_the_step(model, num_seqs):
    """Would catch padding that changes a page or a neighbour's result, a bucket that reads what another left, and, on a
    GPU, a graph that replays the numbers it was captured with.
    """
    config = model.config
    kv = KVCacheManager(40, 4, config.num_kv_heads, config.head_dim, torch.float32, config.num_layers, device=DEVICE)
    torch.manual_seed(1)
    lens = torch.randint(1, 40, (num_seqs,)).tolist()
    for s, n in enumerate(lens):
        kv.allocate_blocks(str(s), n)
    kv.key_cache.normal_()
    kv.value_cache.normal_()
    operations = ops.operations(BACKEND)
    graphs = DecodeGraphs(model, kv, operations, 6, config.max_position_embeddings, CAPTURE)
    for _ in range(3):
        for s in range(num_seqs):
            lens[s] += 1
            kv.append_tokens(str(s), 1)
        tables = [kv.block_tables[str(s)] for s in range(num_seqs)]
        width = max(map(len, tables))
        batch = Batch(
            torch.randint(0, config.vocab_size, (num_seqs,), device=DEVICE),
            torch.tensor([n - 1 for n in lens], device=DEVICE),
            torch.tensor([kv.slot_mapping(str(s), n - 1, n)[0] for s, n in enumerate(lens)], device=DEVICE),
            torch.tensor([table + [0] * (width - len(table)) for table in tables], device=DEVICE),
            torch.tensor(lens, device=DEVICE),
            [1] * num_seqs,
        )
        before = kv.key_cache.clone(), kv.value_cache.clone()
        expected = model(batch, kv, operations)
        pages = kv.key_cache.clone(), kv.value_cache.clone()
        kv.key_cache.copy_(before[0])
        kv.value_cache.copy_(before[1])
        assert graphs.takes(batch)
        torch.testing.assert_close(graphs.run(batch), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(kv.key_cache, pages[0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(kv.value_cache, pages[1], rtol=1e-5, atol=1e-5)
    assert list(graphs.replays) == [bucket_for(num_seqs, graphs.sizes)]


def test_only_decode_steps_that_fit_are_taken(model):
    """Would catch a prompt, or too many sequences, in a graph that has no room for them."""
    kv = KVCacheManager(8, 4, 2, 16, torch.float32, 2, device=DEVICE)
    graphs = DecodeGraphs(model, kv, ops.operations(BACKEND), 2, 32, CAPTURE)
    assert graphs.takes(decode_batch(2, 3, DEVICE))
    assert not graphs.takes(decode_batch(3, 3, DEVICE))
    mixed = decode_batch(3, 3, DEVICE)
    mixed.query_lens = [2, 1]
    assert not graphs.takes(mixed)


@pytest.mark.skipif(not ON_GPU, reason="needs a GPU")
@pytest.mark.parametrize("graphs", [True, False])
def test_nothing_in_a_step_waits_for_the_gpu(graphs):
    """Would catch a copy or a look at a number in the middle of a step: the GPU would run dry behind it."""
    llm = LLM("tiny", backend="cuda", graphs=graphs, num_blocks=64)
    prompts = [[5, 6, 7, 8], [9, 10]]
    params = SamplingParams(temperature=0, max_tokens=6, ignore_eos=True)
    expected = llm.generate(prompts, params)  # compiles and captures
    assert bool(llm.runner.graphs and llm.runner.graphs.replays) == graphs
    make_batch, results = llm.runner.make_batch, llm.runner.results

    def begins(*args):
        torch.cuda.set_sync_debug_mode("error")
        return make_batch(*args)

    def ends(*args):  # the first look at a result: all of the step has been asked for
        torch.cuda.set_sync_debug_mode("default")
        return results(*args)

    llm.runner.make_batch, llm.runner.results = begins, ends
    try:
        outputs = llm.generate(prompts, params)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert llm.last_error is None
    assert [o.token_ids for o in outputs] == [o.token_ids for o in expected]


@pytest.mark.skipif(not ON_GPU, reason="needs a GPU")
def test_graphs_change_no_token():
    """Would catch a replay of an earlier batch: numbers or pages that were frozen when the graph was captured."""
    params = SamplingParams(temperature=0, max_tokens=40, ignore_eos=True)
    prompts = [[5 + n, 6, 7 + n] for n in range(11)]
    tokens = []
    for graphs in (True, False):
        llm = LLM("tiny", backend="cuda", dtype=torch.float32, graphs=graphs, num_blocks=512, max_num_seqs=16)
        tokens.append([output.token_ids for output in llm.generate(prompts, params)])
        assert llm.last_error is None
        llm.check_integrity()
    assert tokens[0] == tokens[1]


@pytest.mark.skipif(not ON_GPU, reason="needs a GPU")
def test_engines_capture_after_one_is_gone():
    """Would catch graphs of one engine whose memory belongs to another: gone with it, or overwritten by it."""
    params = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True)

    def answers(llm):
        outputs = llm.generate([[5, 6, 7, 8], [9, 10]], params)
        assert llm.last_error is None
        assert llm.runner.graphs.replays
        return [output.token_ids for output in outputs]

    def engine():
        return LLM("tiny", backend="cuda", dtype=torch.float32, num_blocks=64)

    first = engine()
    expected = answers(first)
    del first
    gc.collect()
    second, third = engine(), engine()
    for _ in range(2):
        assert answers(second) == answers(third) == expected
