"""The kernel API: results against oracles, checks before anything is written, and the choice of a backend."""

import inspect
import math
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from yaie.kernels import api, ops, radix_ops, radix_tree, rope
from yaie.kernels.kv_cache import KVCacheManager
from yaie.kernels.sampling import SamplingKernel


def rand(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def close(actual, expected, tolerance=2e-5):
    torch.testing.assert_close(actual.double(), expected.double(), rtol=tolerance, atol=tolerance)


def sdpa(query, key, value, causal=True, scale=None):
    """torch's own attention in float64 for one sequence, queries last, heads in the second axis as here."""
    query, key, value = (x.double().transpose(0, 1) for x in (query, key, value))
    q_len, kv_len = query.shape[1], key.shape[1]
    mask = torch.ones(q_len, kv_len).tril(kv_len - q_len).bool() if causal else None
    group = query.shape[0] // key.shape[0]
    key, value = (x.repeat_interleave(group, dim=0) for x in (key, value))
    attend = torch.nn.functional.scaled_dot_product_attention
    return attend(query, key, value, attn_mask=mask, scale=scale).transpose(0, 1)


# --- attention ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("num_heads", "num_kv_heads", "head_dim"), [(4, 4, 16), (8, 2, 64), (7, 1, 80)])
@pytest.mark.parametrize(("q_len", "kv_len"), [(1, 1), (17, 17), (1, 33), (5, 16)])
@pytest.mark.parametrize("causal", [True, False])
def test_attention_forward(num_heads, num_kv_heads, head_dim, q_len, kv_len, causal):
    """Catches an API that ignores key and value, makes random weights, or takes the length for the head
    count.
    """
    query = rand(2, q_len, num_heads, head_dim)
    key, value = rand(2, 2, kv_len, num_kv_heads, head_dim, seed=1)
    out = api.attention_forward(query, key, value, causal=causal)
    scaled = api.attention_forward(query, key, value, causal=causal, scale=0.5)
    for s in range(2):
        close(out[s], sdpa(query[s], key[s], value[s], causal))
        close(scaled[s], sdpa(query[s], key[s], value[s], causal, 0.5))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("as_tensor", [True, False])
def test_attention_forward_with_lengths(causal, as_tensor):
    """Catches padding that is seen (NaN shows it) or written, and `seq_lens=None` that raises."""
    lens = [5, 2, 0, 3]
    query, key, value = rand(3, 4, 5, 4, 8)
    for s, n in enumerate(lens):
        for x in (query, key, value):
            x[s, n:] = math.nan
    out = api.attention_forward(query, key, value, causal=causal, seq_lens=torch.tensor(lens) if as_tensor else lens)
    for s, n in enumerate(lens):
        if n:
            close(out[s, :n], sdpa(query[s, :n], key[s, :n], value[s, :n], causal))
        assert not out[s, n:].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_in_and_out(dtype):
    """Catches half tensors read as float, and a result in another dtype than the query."""
    query, key, value = rand(3, 1, 9, 4, 16, dtype=dtype)
    out = api.attention_forward(query, key, value)
    assert out.dtype == dtype
    close(out[0], sdpa(query[0], key[0], value[0]).to(dtype), 1e-2)


def test_nothing_to_do_is_done():
    """Catches a reduction over no elements that raises."""
    assert api.attention_forward(rand(2, 0, 4, 8), *rand(2, 2, 0, 4, 8)).shape == (2, 0, 4, 8)
    assert not api.attention_forward(rand(1, 2, 4, 8), *rand(2, 1, 0, 4, 8), causal=False).any()
    caches, nothing = rand(2, 4, 2, 1, 8), torch.zeros(0, 3, dtype=torch.int64)
    assert api.paged_attention_forward(rand(0, 4, 8), *caches, nothing, []).shape == (0, 4, 8)
    before = caches.clone()
    api.copy_blocks(*caches, torch.zeros(0, 2, dtype=torch.int64))
    api.reshape_and_cache(rand(0, 1, 8), rand(0, 1, 8), *caches, torch.zeros(0, dtype=torch.int64))
    assert torch.equal(caches, before)


def paged(block_size=4, lens=(9, 3, 17), num_heads=4, num_kv_heads=2, head_dim=8, dtype=torch.float32):
    """Sequences written through the manager: pages in a random order, and the contiguous keys and values."""
    manager = KVCacheManager(40, block_size, num_kv_heads, head_dim, dtype=dtype)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0)).tolist()
    manager.free_block_list[:] = order
    contiguous = []
    for s, n in enumerate(lens):
        manager.allocate_blocks(str(s), n)
        key, value = rand(2, n, num_kv_heads, head_dim, seed=s + 1, dtype=dtype)
        manager.write(str(s), key, value)
        contiguous.append((key, value))
    tables = torch.full((len(lens), 20), -1, dtype=torch.int32)
    for s in range(len(lens)):
        table = manager.block_tables[str(s)]
        tables[s, : len(table)] = torch.tensor(table)
    return manager, manager.key_cache[0], manager.value_cache[0], tables, contiguous


@pytest.mark.parametrize("block_size", [1, 4, 16])
@pytest.mark.parametrize("q_len", [1, 3])
@pytest.mark.parametrize("as_tensor", [True, False])
def test_paged_attention_forward(block_size, q_len, as_tensor):
    """Catches a query that sees only its own slot, wrong pages, and strides taken from the context length."""
    lens = [9, 3, 17]
    _, key_cache, value_cache, tables, contiguous = paged(block_size, lens)
    query = rand(3, q_len, 4, 8)
    context_lens = torch.tensor(lens, dtype=torch.int32) if as_tensor else lens
    out = api.paged_attention_forward(query, key_cache, value_cache, tables, context_lens)
    for s, (key, value) in enumerate(contiguous):
        close(out[s], sdpa(query[s], key, value))
    plan = api.plan_attention(tables, context_lens, [q_len] * 3, key_cache)
    again = api.paged_attention_forward(query, key_cache, value_cache, tables, context_lens, plan=plan)
    assert torch.equal(again, out)


def test_paged_attention_with_query_lengths():
    """Catches ragged batches computed over their padding, and flat batches cut at the wrong tokens."""
    lens, query_lens = [9, 3, 17], [4, 1, 0]
    _, key_cache, value_cache, tables, contiguous = paged(4, lens)
    query = rand(3, 4, 4, 8)
    query[1, 1:] = query[2] = math.nan
    pages = key_cache, value_cache, tables, lens
    out = api.paged_attention_forward(query, *pages, query_lens=torch.tensor(query_lens))
    for s, n in enumerate(query_lens):
        if n:
            close(out[s, :n], sdpa(query[s, :n], *contiguous[s]))
        assert not out[s, n:].any()
    flat = torch.cat((query[0], query[1, :1]))
    close(api.paged_attention_forward(flat, *pages, query_lens=query_lens), torch.cat((out[0], out[1, :1])))
    decode = api.paged_attention_forward(query[:, 0].nan_to_num(), *pages)
    for s in range(3):
        close(decode[s], sdpa(query[s, :1].nan_to_num(), *contiguous[s])[0])


def test_the_default_float16_pool_meets_float32_queries():
    """Catches a manager whose default dtype no kernel accepts."""
    manager, key_cache, value_cache, tables, contiguous = paged(4, [9], dtype=torch.float16)
    assert manager.dtype == torch.float16
    query = rand(1, 2, 4, 8)
    out = api.paged_attention_forward(query, key_cache, value_cache, tables, [9])
    assert out.dtype == torch.float32
    close(out[0], sdpa(query[0], *contiguous[0]))


# --- memory -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("num_layers", [None, 1, 3])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_copy_blocks_in_place_and_nothing_else(num_layers, dtype):
    """Catches fresh caches with all other blocks wiped, a part of a block copied, and one layer of several."""
    layers = () if num_layers is None else (num_layers,)
    caches = rand(2, *layers, 9, 16, 2, 64)
    expected = caches.clone()
    for source, destination in [(0, 5), (0, 6), (3, 1)]:
        expected.select(-4, destination).copy_(expected.select(-4, source))
    pointers = caches[0].data_ptr(), caches[1].data_ptr()
    result = api.copy_blocks(caches[0], caches[1], torch.tensor([[0, 5], [0, 6], [3, 1]], dtype=dtype))
    assert result is None
    assert pointers == (caches[0].data_ptr(), caches[1].data_ptr())
    assert torch.equal(caches, expected)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_reshape_and_cache_fills_the_slots_and_nothing_else(dtype):
    """Catches rows written to the wrong block or offset, padding that is stored, and the wrong dtype."""
    caches = rand(2, 5, 4, 2, 8, dtype=torch.float16)
    expected = caches.clone()
    key, value = rand(2, 4, 2, 8, seed=1)
    slots = [17, -1, 0, 6]
    for row, slot in enumerate(slots):
        if slot >= 0:
            expected[0, slot // 4, slot % 4], expected[1, slot // 4, slot % 4] = key[row], value[row]
    api.reshape_and_cache(key, value, caches[0], caches[1], torch.tensor(slots, dtype=dtype))
    assert torch.equal(caches, expected)


def test_append_and_gather_agree_with_the_manager():
    """Catches two ideas of a slot: the manager's slot mapping must lead to where gather reads."""
    manager, key_cache, value_cache, tables, contiguous = paged(4, [9, 3])
    slots = torch.tensor(manager.append_tokens("1", 6))
    key, value = rand(2, 6, 2, 8, seed=9)
    api.reshape_and_cache(key, value, key_cache, value_cache, slots)
    table = torch.tensor(manager.block_tables["1"])
    assert torch.equal(api.gather_pages(key_cache, table, 9), torch.cat((contiguous[1][0], key)))
    assert torch.equal(api.gather_pages(value_cache, table, 9), manager.read("1")[1])
    assert torch.equal(api.gather_pages(key_cache, tables[0], 9), contiguous[0][0])


def test_sample_is_the_sampling_kernel():
    """Catches arguments that are lost on the way."""
    logits = rand(4, 50)
    seeds = ([torch.Generator().manual_seed(s) for s in range(4)] for _ in range(2))
    arguments = {"temperature": [0.5, 0, 1, 2], "top_p": 0.9, "top_k": 20, "min_p": 0.01}
    expected = SamplingKernel().sample(logits, generator=next(seeds), **arguments)
    assert torch.equal(api.sample(logits, generator=next(seeds), **arguments), expected)


# --- refusals -----------------------------------------------------------------------------------------------


def refuses(match, call, *unchanged):
    before = [x.clone() for x in unchanged]
    with pytest.raises(ValueError, match=match):
        call()
    assert all(torch.equal(x, y) for x, y in zip(unchanged, before, strict=True))


def test_attention_refuses_what_does_not_fit():
    """Catches shapes that broadcast by accident."""
    query, key = rand(2, 3, 4, 8), rand(2, 5, 2, 8)
    attend = api.attention_forward
    refuses("query must be", lambda: attend(query[0], key, key))
    refuses("key and value must be", lambda: attend(query, key[:1], key[:1]))
    refuses("key and value must be", lambda: attend(query, key, key[:, :4]))
    refuses("num_kv_heads=3 must divide", lambda: attend(query, rand(2, 5, 3, 8), rand(2, 5, 3, 8)))
    refuses("cannot be the last of 2", lambda: attend(query, key[:, :2], key[:, :2]))
    refuses("q_len == kv_len", lambda: attend(query, key, key, seq_lens=[3, 3]))
    refuses("0..3", lambda: attend(query, query, query, seq_lens=[3, 4]))
    refuses("2 integers", lambda: attend(query, query, query, seq_lens=[3]))
    refuses("key is on meta, expected cpu", lambda: attend(query, key.to("meta"), key.to("meta")))


def test_paged_attention_refuses_what_does_not_fit():
    """Catches reads outside the pool or of another request's pages."""
    _, key_cache, value_cache, tables, _ = paged(4, [9, 3])
    query, lens = rand(2, 2, 4, 8), [9, 3]

    def attend(query=query, key_cache=key_cache, value_cache=value_cache, tables=tables, lens=lens, **kwargs):
        return api.paged_attention_forward(query, key_cache, value_cache, tables, lens, **kwargs)

    attend()
    wrong = tables.clone()
    wrong[1, 0] = 40
    refuses("sequence 1: entry 0 of its block table is 40", lambda: attend(tables=wrong))
    refuses("sequence 0: entry 3 of its block table is -1", lambda: attend(lens=[13, 3]))
    refuses("sequence 0: context_len=81", lambda: attend(lens=[81, 3]))
    refuses("sequence 1: context_len=1 must hold query_len=2", lambda: attend(lens=[9, 1]))
    refuses("query_lens .* exceed", lambda: attend(query_lens=[3, 1]))
    refuses("2 integers", lambda: attend(lens=[9]))
    refuses("2 integers", lambda: attend(lens=torch.tensor([9.0, 3.0])))
    refuses("add up to 5", lambda: attend(query=rand(4, 4, 8), query_lens=[2, 3]))
    three = rand(3, 2, 4, 8)
    refuses(r"block_tables must be \[num_seqs=3, .* got \[2, 20\]", lambda: attend(query=three, query_lens=[2, 2]))
    refuses("must be int32 or int64", lambda: attend(tables=tables.float()))
    refuses("block_tables must be", lambda: attend(tables=tables[0]))
    refuses(r"query must be .* head_dim=8\], got \[2, 2, 4, 6\]", lambda: attend(query=rand(2, 2, 4, 6)))
    refuses("must divide", lambda: attend(query=rand(2, 2, 3, 8)))
    refuses("query must be", lambda: attend(query=rand(4, 8)))
    refuses("caches must be alike", lambda: attend(value_cache=value_cache[:5]))
    refuses("caches must be alike", lambda: attend(value_cache=value_cache.half()))
    uneven = key_cache.transpose(1, 2).contiguous().transpose(1, 2)
    refuses("contiguous", lambda: attend(key_cache=uneven))
    plan = api.plan_attention(tables, lens, [2, 2], key_cache)
    refuses("plan is for 4 query tokens, got 2", lambda: attend(query=query[:, :1], plan=plan))
    plan = api.plan_attention(tables[:1], lens[:1], [1], key_cache)
    refuses("plan is for 1 query tokens, got 2", lambda: attend(query=query[:, 0], plan=plan))


def test_memory_operations_refuse_before_they_write():
    """Catches a copy or an append that is half done when it finds the bad id, and copies whose order matters."""
    caches = rand(2, 5, 4, 2, 8)
    key, value = rand(2, 2, 2, 8)

    def copy(pairs, **kwargs):
        return lambda: api.copy_blocks(*caches, torch.tensor(pairs), **kwargs)

    refuses(r"block_mapping must lie in 0..4, got 0..5", copy([[0, 2], [1, 5]]), caches)
    refuses(r"block_mapping must lie in 0..4, got -1..2", copy([[-1, 2]]), caches)
    refuses(r"blocks \[2\] are the destination of several", copy([[0, 2], [1, 2]]), caches)
    refuses("source and destination", copy([[0, 1], [1, 2]]), caches)
    refuses("source and destination", copy([[0, 1], [1, 0]]), caches)
    refuses("num_pairs, 2", copy([0, 1]), caches)
    refuses("int32 or int64", copy([[0.0, 1.0]]), caches)

    def append(slots, key=key, value=value):
        return lambda: api.reshape_and_cache(key, value, *caches, torch.tensor(slots))

    refuses("0..19", append([3, 20]), caches)
    refuses("0..19", append([3, -2]), caches)
    refuses("key and value must be", append([3]), caches)
    refuses("key and value must be", append([3, 4], key=key[:, :1]), caches)
    refuses("key and value must be", append([3, 4], value=value.flatten(1)), caches)
    refuses("int32 or int64", append([3.0, 4.0]), caches)
    refuses("entry 1 of its block table is 7", lambda: api.gather_pages(caches[0], torch.tensor([0, 7]), 5))
    refuses("context_len=9", lambda: api.gather_pages(caches[0], torch.tensor([0, 1]), 9))
    refuses("block_table must be", lambda: api.gather_pages(caches[0], torch.tensor([[0, 1]]), 4))


def test_model_operations():
    """Catches a residual that is not updated, a rotation that leaves its view, and a gate taken for up."""
    x, residual, weight = rand(3, 10), rand(3, 10, seed=1), rand(10, seed=2)
    total = (x + residual).double()
    out = api.rms_norm(x, weight, 1e-5, residual=residual)
    close(residual, total)
    close(out, total / (total.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight)
    close(api.rms_norm(residual, weight, 1e-5), out)
    projected = rand(3, 5, 8)
    before = projected.clone()
    cos, sin = rope.rope_cos_sin(torch.tensor([0, 1, 7]), rope.rope_inv_freq(8))
    api.rope(projected[:, :4], cos, sin)
    close(projected[:, :4], rope.rotate(before[:, :4], cos, sin))
    assert torch.equal(projected[:, 4:], before[:, 4:])
    gate, up = x.double().chunk(2, dim=-1)
    close(api.silu_mul(x), gate / (1 + (-gate).exp()) * up)
    for dtype in (torch.int32, torch.int64):
        assert torch.equal(api.embedding(x, torch.tensor([2, 0, 2], dtype=dtype)), x[[2, 0, 2]])


def test_model_operations_refuse_what_does_not_fit():
    """Catches a kernel that reads behind a short weight or table."""
    x, weight = rand(3, 10), rand(10)
    cos, sin = rand(2, 3, 1, 4)
    refuses("weight must be", lambda: api.rms_norm(x, weight[:9], 1e-5))
    refuses("weight must be", lambda: api.rms_norm(x, weight.half(), 1e-5))
    for residual in (rand(2, 10), rand(3, 10).half(), rand(10, 3).T):
        refuses("residual must be", lambda residual=residual: api.rms_norm(x, weight, 1e-5, residual=residual))
    heads = rand(3, 2, 8)
    refuses("even head_dim", lambda: api.rope(rand(3, 2, 7), cos, sin), heads)
    refuses("contiguous", lambda: api.rope(rand(2, 3, 8).transpose(0, 1), cos, sin))
    refuses("cos must be", lambda: api.rope(heads, cos[:2], sin), heads)
    refuses("sin must be", lambda: api.rope(heads, cos, sin.double()), heads)
    refuses("gate_up must be", lambda: api.silu_mul(rand(3, 5)))
    refuses("0..2, got -1..2", lambda: api.embedding(x, torch.tensor([2, -1])))
    refuses("0..2, got 0..3", lambda: api.embedding(x, torch.tensor([0, 3])))
    refuses("int32 or int64", lambda: api.embedding(x, torch.tensor([0.0])))
    refuses("table must be", lambda: api.embedding(x.T, torch.tensor([0])))


# --- backends -----------------------------------------------------------------------------------------------


EMPTY_TREE, _ = radix_ops.flatten(radix_tree.RadixTree().root)


def calls():
    query, caches = rand(1, 1, 2, 8), rand(2, 3, 4, 2, 8)
    table, lens = torch.tensor([[0]]), [1]
    return {
        "attention_forward": lambda **kw: api.attention_forward(query, query, query, **kw),
        "plan_attention": lambda **kw: api.plan_attention(table, lens, None, caches[0], **kw),
        "paged_attention_forward": lambda **kw: api.paged_attention_forward(query, *caches, table, lens, **kw),
        "copy_blocks": lambda **kw: api.copy_blocks(*caches, torch.tensor([[0, 1]]), **kw),
        "reshape_and_cache": lambda **kw: api.reshape_and_cache(query[0], query[0], *caches, torch.tensor([0]), **kw),
        "gather_pages": lambda **kw: api.gather_pages(caches[0], table[0], 1, **kw),
        "rms_norm": lambda **kw: api.rms_norm(query, query[0, 0, 0], 1e-5, **kw),
        "rope": lambda **kw: api.rope(query[0], rand(1, 1, 4), rand(1, 1, 4), **kw),
        "silu_mul": lambda **kw: api.silu_mul(query, **kw),
        "embedding": lambda **kw: api.embedding(query[0, 0], table[0], **kw),
        "match_prefixes": lambda **kw: api.match_prefixes(EMPTY_TREE, table, [1], **kw),
        "choose_victims": lambda **kw: api.choose_victims(table[0], table[0], table[0] == 0, 1, **kw),
        "sample": lambda **kw: api.sample(rand(1, 4), **kw),
    }


@pytest.mark.parametrize("operation", calls())
def test_every_operation_chooses_its_backend(operation, monkeypatch):
    """Catches a named backend that is silently replaced by another, and `auto` that takes the emulator."""
    call = calls()[operation]
    call()
    call(backend="auto")
    call(backend="torch")
    with pytest.raises(ValueError, match="backend must be one of"):
        call(backend="cude")
    asked = []

    def computes(*args, **kwargs):
        asked.append(operation)
        return args[0][:, 0] if operation == "sample" else args[0]

    def refusing(*args, **kwargs):
        raise ops.BackendError("it takes no such dtype")

    monkeypatch.setattr(ops, "obstacle", lambda backend: None)
    monkeypatch.setitem(ops.shared, "emulator", SimpleNamespace(**{operation: computes}))
    call()
    assert asked == [], "auto must not choose the emulator"
    call(backend="emulator")
    call(backend=ops.shared["emulator"])
    assert asked == [operation] * 2
    monkeypatch.setitem(ops.shared, "emulator", SimpleNamespace(**{operation: refusing}))
    with pytest.raises(ops.BackendError, match="it takes no such dtype"):
        call(backend="emulator")


def test_every_operation_is_offered_checked():
    """Catches an operation that nobody can call with checks, and one that says nothing about its arguments."""
    offered = {name for name, value in vars(api).items() if inspect.isfunction(value)} - {"available_backends"}
    operations = {name for name in dir(ops.TorchOperations) if callable(getattr(ops.TorchOperations, name))}
    # Parts of `paged_attention_forward` and `sample`; and `rms_norm`, `rope`, `reshape_and_cache` in one.
    for_a_step = {"least_saved_pages", "decode_plan", "choose", "split_heads", "rope_and_cache"}
    assert offered == set(calls()) == {name for name in operations if name[0] != "_"} - for_a_step
    assert all("`" in getattr(api, name).__doc__ for name in offered)


def test_an_import_and_a_call_of_torch_load_no_kernels():
    """Catches a module that announces a missing extension when it is imported, compiles or looks for a GPU, and a torch
    call that does."""
    code = (
        "import sys, torch; from yaie.kernels import api, ops; assert 'torch.utils.cpp_extension' not in sys.modules; "
        "x = torch.zeros(2, 3, 4, 1, 8); api.copy_blocks(*x, torch.tensor([[0, 1]])); "
        "assert list(ops.shared) == ['torch']; assert not ops.launching.load.cache_info().currsize; "
        "assert not torch.cuda.is_initialized()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
