"""Attention against float64 oracles written with loops over tokens, and RoPE against transformers."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from yaie.kernels import attention, paged, rope
from yaie.kernels.radix_attention import RadixAttentionBlock
from yaie.models.batch import TableRows


def rand(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def oracle(query, key, value, sees, scale=None):
    """Attention one query and head at a time in float64. `sees(i, j)`: may query `i` see key `j`?

    query `[q_len, num_heads, head_dim]`, key and value `[kv_len, num_kv_heads, head_dim]` -> out, lse.
    """
    query, key, value = query.double(), key.double(), value.double()
    q_len, num_heads, head_dim = query.shape
    group = num_heads // key.shape[1]
    scale = 1 / math.sqrt(head_dim) if scale is None else scale
    out, lse = torch.zeros_like(query), torch.full((q_len, num_heads), -math.inf, dtype=torch.float64)
    for i, h in itertools.product(range(q_len), range(num_heads)):
        visible = [j for j in range(key.shape[0]) if sees(i, j)]
        if visible:
            scores = key[visible, h // group] @ query[i, h] * scale
            lse[i, h] = scores.logsumexp(0)
            out[i, h] = scores.softmax(0) @ value[visible, h // group]
    return out, lse


def close(actual, expected, tolerance=2e-5):
    torch.testing.assert_close(actual.double(), expected.double(), rtol=tolerance, atol=tolerance)


# --- rotary positions ---------------------------------------------------------------------------------------

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


@pytest.mark.parametrize(
    "scaling",
    [
        None,
        {"rope_type": "default"},
        {"rope_type": "linear", "factor": 4.0},
        {"rope_type": "dynamic", "factor": 2.0},
        LLAMA3,
    ],
)
@pytest.mark.parametrize("theta", [10000.0, 500000.0])
def test_inverse_frequencies_are_those_of_transformers(scaling, theta):
    """Catches a wrong base, exponent or blend in any of the four kinds of RoPE."""
    import transformers
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    config = transformers.LlamaConfig(
        hidden_size=256,
        num_attention_heads=4,
        head_dim=64,
        max_position_embeddings=2048,
        rope_parameters={"rope_type": "default", **(scaling or {}), "rope_theta": theta},
    )
    theirs = LlamaRotaryEmbedding(config)
    theirs(torch.zeros(1), torch.tensor([[2047]]))  # lets `dynamic` see the longest text of training
    actual = rope.rope_inv_freq(64, theta, scaling)
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual, theirs.inv_freq, rtol=1e-6, atol=0)


def test_the_old_name_of_the_entry_is_read():
    """Catches a checkpoint that says `type` instead of `rope_type` and is run without scaling."""
    assert torch.equal(rope.rope_inv_freq(8, scaling={"type": "linear", "factor": 4.0}), rope.rope_inv_freq(8) / 4)


def rotated_to(x, positions, inv_freq):
    return rope.rotate(x, *rope.rope_cos_sin(positions, inv_freq))


def test_rotation_is_that_of_transformers():
    """Catches pairs taken as neighbours, a turn the wrong way round, and positions that are ignored."""
    from transformers.models.llama import modeling_llama as modeling

    query, key = rand(2, 7, 4, 16), rand(2, 7, 2, 16, seed=1)
    positions = torch.tensor([[0, 1, 2, 3, 4, 5, 6], [9, 3, 500, 0, 1, 1, 70]])
    inv_freq = rope.rope_inv_freq(16)
    angles = positions[..., None] * inv_freq
    table = torch.cat((angles, angles), dim=-1)
    expected = modeling.apply_rotary_pos_emb(query, key, table.cos(), table.sin(), unsqueeze_dim=2)
    close(rotated_to(query, positions, inv_freq), expected[0], 1e-6)
    close(rotated_to(key, positions, inv_freq), expected[1], 1e-6)


def test_scores_depend_on_distance_only():
    """Catches keys and queries that turn by different rules."""
    query, key, inv_freq = rand(1, 1, 32), rand(1, 1, 32, seed=1), rope.rope_inv_freq(32)

    def score(m, n):
        rotated = (rotated_to(x, torch.tensor([p]), inv_freq) for x, p in ((query, m), (key, n)))
        return torch.einsum("thd,thd->", *rotated)

    close(score(3, 10), score(1003, 1010), 1e-4)
    assert abs(score(3, 10) - score(3, 11)) > 1e-3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_angles_stay_exact_for_half_precision_input(dtype):
    """Catches cosines stored in half precision: beyond position 2,048 float16 cannot even count."""
    x, positions, inv_freq = (rand(3, 1, 64, dtype=dtype), torch.tensor([4093, 4094, 4095]), rope.rope_inv_freq(64))
    angles = positions.double()[:, None, None] * inv_freq.double()
    a, b = x.double().chunk(2, dim=-1)
    expected = torch.cat((a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()), dim=-1)
    actual = rotated_to(x, positions, inv_freq)
    assert actual.dtype == dtype
    close(actual, expected, {torch.float16: 2e-3, torch.bfloat16: 2e-2}[dtype])
    assert rope.rope_cos_sin(positions, inv_freq)[0].dtype == torch.float32


@pytest.mark.parametrize(
    ("match", "arguments"),
    [
        ("even", {"head_dim": 7}),
        ("'yarn' is not supported", {"scaling": {"rope_type": "yarn", "factor": 2.0}}),
        ("'longrope' is not supported", {"scaling": {"type": "longrope"}}),
        ("is not supported", {"scaling": {"type": "linear", "rope_type": "dynamic", "factor": 2.0}}),
        ("needs entries", {"scaling": {"rope_type": "linear"}}),
        ("partial_rotary_factor", {"scaling": {"rope_type": "default", "partial_rotary_factor": 0.5}}),
        ("rope_theta", {"scaling": {"rope_type": "default", "rope_theta": 5.0}}),
    ],
)
def test_what_would_change_results_is_refused_by_name(match, arguments):
    """Catches a checkpoint with another kind of RoPE that runs anyway and answers nonsense."""
    with pytest.raises(ValueError, match=match):
        rope.rope_inv_freq(**{"head_dim": 8, **arguments})


# --- attention over keys in one piece -----------------------------------------------------------------------


@pytest.mark.parametrize(("q_len", "kv_len", "offset"), [(1, 1, 0), (4, 4, 0), (1, 9, 8), (3, 8, 5), (2, 9, 3)])
def test_causal_mask_with_offset(q_len, kv_len, offset):
    """Catches a mask that ignores the past (offset 0) or lets a query see the token after it."""
    mask = attention.causal_mask(q_len, kv_len, offset)
    assert mask.dtype == torch.bool
    assert mask.tolist() == [[j <= offset + i for j in range(kv_len)] for i in range(q_len)]


@pytest.mark.parametrize(("num_heads", "num_kv_heads"), [(1, 1), (4, 4), (4, 1), (8, 2), (14, 2)])
def test_grouping_puts_heads_with_the_kv_head_that_they_read(num_heads, num_kv_heads):
    """Catches head `h` reading KV head `h % num_kv_heads`, and an ungrouping that is not the inverse."""
    query = rand(2, 3, num_heads, 5)
    grouped = attention.group_heads(query, num_kv_heads)
    group = num_heads // num_kv_heads
    for h, i in itertools.product(range(num_heads), range(3)):
        assert torch.equal(grouped[:, h // group, (h % group) * 3 + i], query[:, i, h])
    assert torch.equal(attention.ungroup_heads(grouped, 3), query)


@pytest.mark.parametrize("q_len", [1, 15, 16, 17, 33])
@pytest.mark.parametrize(("num_heads", "num_kv_heads", "head_dim"), [(2, 2, 64), (4, 1, 80), (7, 1, 128), (8, 2, 32)])
def test_causal_attention_is_attention(q_len, num_heads, num_kv_heads, head_dim):
    """Catches a missing 1/sqrt(head_dim), mask, head mapping or normalisation, against the float64 oracle."""
    past = 5
    query = rand(2, q_len, num_heads, head_dim)
    key, value = rand(2, 2, past + q_len, num_kv_heads, head_dim, seed=1)
    out, lse = attention.causal_attention(query, key, value, offset=past)
    for s in range(2):
        expected_out, expected_lse = oracle(query[s], key[s], value[s], lambda i, j: j <= past + i)
        close(out[s], expected_out)
        close(lse[s], expected_lse)


@pytest.mark.parametrize("mask_dims", [2, 3])
def test_masks_scale_and_queries_that_see_nothing(mask_dims):
    """Catches a softmax over no keys (NaN), and a mask applied to the wrong axis."""
    query, (key, value) = rand(2, 3, 4, 8), rand(2, 2, 5, 2, 8, seed=1)
    mask = rand(2, 3, 5, seed=2) > 0
    mask[:, 1] = False
    mask = mask[0] if mask_dims == 2 else mask
    out, lse = attention.attention(query, key, value, mask, scale=0.3)
    for s in range(2):
        m = mask if mask_dims == 2 else mask[s]
        expected_out, expected_lse = oracle(query[s], key[s], value[s], lambda i, j, m=m: m[i, j], 0.3)
        close(out[s], expected_out)
        close(lse[s], expected_lse)
    assert not out[:, 1].any()
    assert (lse[:, 1] == -math.inf).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_half_precision_input_is_computed_in_float32(dtype):
    """Catches scores and sums in half precision; and float64 that is cut down to float32."""
    query, (key, value) = rand(1, 4, 4, 64, dtype=dtype), rand(2, 1, 300, 2, 64, seed=1, dtype=dtype)
    out, lse = attention.attention(query, key, value)
    expected_out, expected_lse = oracle(query[0], key[0], value[0], lambda i, j: True)
    assert out.dtype == lse.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    close(out[0], expected_out, 1e-12 if dtype == torch.float64 else 2e-6)
    close(lse[0], expected_lse, 1e-12 if dtype == torch.float64 else 2e-6)


def test_large_scores_do_not_overflow():
    """Catches exp without subtracting the largest score."""
    query, key, value = torch.full((1, 1, 1, 4), 100.0), torch.full((1, 2, 1, 4), 100.0), rand(1, 2, 1, 4)
    out, lse = attention.attention(query, key, value)
    close(out[0, 0, 0], value[0, :, 0].mean(0))
    close(lse, torch.full_like(lse, 20000 + math.log(2)))


def test_gradients_are_those_of_torch():
    """Catches an in-place step or a detached part that breaks training through the block."""
    inputs = [rand(1, 5, 4, 8, seed=s, dtype=torch.float64).requires_grad_() for s in range(3)]
    attention.causal_attention(*inputs)[0].square().sum().backward()
    gradients = [x.grad.clone() for x in inputs]
    for x in inputs:
        x.grad = None
    q, k, v = (x.transpose(1, 2) for x in inputs)
    torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).square().sum().backward()
    for x, gradient in zip(inputs, gradients, strict=True):
        close(gradient, x.grad, 1e-10)


@given(lens=st.lists(st.integers(1, 9), min_size=2, max_size=4), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_merging_parts_gives_the_whole_in_any_order(lens, seed):
    """Catches parts averaged without their weights, and a merged lse that cannot be merged again."""
    query, (key, value) = rand(1, 2, 4, 8, seed=seed), 3 * rand(2, 1, sum(lens), 2, 8, seed=seed + 1)
    parts = [attention.attention(query, k, v) for k, v in zip(key.split(lens, 1), value.split(lens, 1), strict=True)]
    for order in (parts, parts[::-1]):
        out, lse = order[0]
        for part in order[1:]:
            out, lse = attention.merge_attention(out, lse, *part)
        expected_out, expected_lse = oracle(query[0], key[0], value[0], lambda i, j: True)
        close(out[0], expected_out)
        close(lse[0], expected_lse)


def test_merging_with_nothing_changes_nothing():
    """Catches -inf minus -inf: a query that sees no key on one side, or on both, must not become NaN."""
    out, lse = rand(1, 3, 2, 4), rand(1, 3, 2, seed=1)
    nothing, minus_infinity = torch.zeros_like(out), torch.full_like(lse, -math.inf)
    for a, b in [((out, lse), (nothing, minus_infinity)), ((nothing, minus_infinity), (out, lse))]:
        merged = attention.merge_attention(*a, *b)
        assert torch.equal(merged[0], out)
        assert torch.equal(merged[1], lse)
    merged = attention.merge_attention(nothing, minus_infinity, nothing, minus_infinity)
    assert torch.equal(merged[0], nothing)
    assert torch.equal(merged[1], minus_infinity)


@pytest.mark.parametrize("max_scores", [1, 100, 500])
def test_a_long_prompt_is_walked_in_tiles(monkeypatch, max_scores):
    """Catches all scores kept at once: memory that grows with the square of the prompt."""
    query, (key, value) = rand(2, 12, 4, 8), rand(2, 2, 17, 2, 8, seed=1)
    whole = attention.causal_attention(query, key, value, offset=5, fast=False)
    sizes = []

    def spy(query, key, *rest):
        sizes.append((query.shape[1], query.shape[0] * query.shape[1] * query.shape[2] * key.shape[1]))
        return plain(query, key, *rest)

    plain = attention.attention
    monkeypatch.setattr(attention, "attention", spy)
    monkeypatch.setattr(attention, "MAX_SCORES", max_scores)
    tiled = attention.causal_attention(query, key, value, offset=5, fast=False)
    assert len(sizes) > 1
    assert all(q_len == 1 or scores <= max_scores for q_len, scores in sizes)
    close(tiled[0], whole[0])
    close(tiled[1], whole[1])


# --- pages --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block_size", [1, 3, 16])
@pytest.mark.parametrize("context_len", [1, 15, 16, 17, 33])
def test_gather_follows_the_block_table(block_size, context_len):
    """Catches pages read in order of their ids, a last page taken whole, and garbage after the table's end."""
    num_blocks = -(-context_len // block_size)
    cache = rand(num_blocks + 3, block_size, 2, 4)
    table = torch.randperm(num_blocks + 3, generator=torch.Generator().manual_seed(1)).int()
    table[num_blocks:] = -1
    gathered = paged.gather_pages(cache, table, context_len)
    assert gathered.shape == (context_len, 2, 4)
    for p in range(context_len):
        assert torch.equal(gathered[p], cache[table[p // block_size], p % block_size])


def pages_read(tables, lens, shared):
    """Every page that is read, once for each time: by a group for all its members, or by a sequence for itself."""
    own, reads = np.zeros(len(lens), dtype=int), []
    for members, begin, end in shared:
        assert len(members) > 1
        assert (own[members] == begin).all(), "shared pages of a sequence must follow one another"
        assert begin < end <= lens[members].min()
        assert (tables[members, :end] == tables[members[0], :end]).all()
        own[members] = end
        reads += [tuple(tables[members[0], : page + 1]) for page in range(begin, end)]
    return reads + [tuple(tables[i, : page + 1]) for i, n in enumerate(lens) for page in range(own[i], n)]


@given(st.lists(st.lists(st.integers(0, 1), max_size=5), max_size=8), st.integers(1, 6))
@settings(max_examples=150, deadline=None)
def test_shared_pages_are_shared_and_save(prefixes, least):
    """Catches a group that reads another's pages, a gap between two levels of a tree, and a short member that spoils a
    long prefix. Where every saved page counts, no page is read twice; and it never costs more than to read once only.
    """
    tables = np.full((len(prefixes), 5), -1)
    for row, prefix in enumerate(prefixes):
        tables[row, : len(prefix)] = [10 * depth + block for depth, block in enumerate(prefix)]
    lens = np.array([len(prefix) for prefix in prefixes], dtype=int)
    reads = pages_read(tables, lens, paged.shared_pages(tables, lens, 1))
    assert sorted(reads) == sorted({tuple(tables[i, : page + 1]) for i, n in enumerate(lens) for page in range(n)})
    shared = paged.shared_pages(tables, lens, least)
    assert len(pages_read(tables, lens, shared)) + least * len(shared) <= lens.sum()


def test_shared_pages_nest():
    """Catches one level of sharing for all: those that share more share that among themselves, behind the first."""
    tables = np.array([[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4], [1, 5, 6, 7], [1, 5, 6, 8], [9, 9, 9, 9]])

    def found(least):
        return sorted((m.tolist(), *pages) for m, *pages in paged.shared_pages(tables, np.full(6, 4), least))

    assert found(1) == [([0, 1, 2], 1, 4), ([0, 1, 2, 3, 4], 0, 1), ([3, 4], 1, 3)]
    # That all read page 1 together saves one reading, since the first three read it once anyhow, and two if not.
    assert found(2) == [([0, 1, 2], 1, 4), ([0, 1, 2, 3, 4], 0, 1), ([3, 4], 1, 3)]
    assert found(3) == [([0, 1, 2], 1, 4), ([0, 1, 2, 3, 4], 0, 1)]
    assert found(5) == [([0, 1, 2], 0, 4)]
    assert paged.shared_pages(tables, np.zeros(6, dtype=int), 1) == []
    comb = paged.shared_pages(np.zeros((2000, 2000), dtype=int), np.arange(2000), 1)
    assert comb, "2,000 sequences, each one block longer than the last, must not exhaust the stack"


def paged_batch(data, num_heads=4, num_kv_heads=2, head_dim=8):
    """A random batch over pages: some sequences share pages, lengths differ, unused slots hold NaN."""
    block_size = data.draw(st.sampled_from([1, 2, 16]))
    trunk_blocks = data.draw(st.integers(0, 3))
    rng = torch.Generator().manual_seed(data.draw(st.integers(0, 10_000)))
    pool = iter(torch.randperm(400, generator=rng).tolist())
    trunk = [next(pool) for _ in range(trunk_blocks)]
    tables, context_lens, query_lens = [], [], []
    for _ in range(data.draw(st.integers(1, 5))):
        start = trunk[: data.draw(st.integers(0, trunk_blocks))]
        own = data.draw(st.integers(1, 40))
        context_len = len(start) * block_size + own
        tables.append(start + [next(pool) for _ in range(-(-own // block_size))])
        context_lens.append(context_len)
        query_lens.append(data.draw(st.sampled_from([1, 1, min(own, 7), own])))
    # Rows not in use are NaN: whoever reads one shows it.
    caches = torch.full((2, 400 * block_size, num_kv_heads, head_dim), math.nan)
    for table, context_len in zip(tables, context_lens, strict=True):
        slots = [table[p // block_size] * block_size + p % block_size for p in range(context_len)]
        fresh = torch.randn((2, len(slots), num_kv_heads, head_dim), generator=rng)
        caches[:, slots] = torch.where(caches[:, slots].isnan(), fresh, caches[:, slots])
    query = torch.randn((sum(query_lens), num_heads, head_dim), generator=rng)
    padded = torch.full((len(tables), max(map(len, tables)) + 1), -1, dtype=torch.int32)
    for row, table in enumerate(tables):
        padded[row, : len(table)] = torch.tensor(table)
    return query, *caches.unflatten(1, (400, block_size)), padded, context_lens, query_lens


def paged_oracle(query, key_cache, value_cache, tables, context_lens, query_lens):
    outs, start, size = [], 0, key_cache.shape[1]
    for table, context_len, q_len in zip(tables.tolist(), context_lens, query_lens, strict=True):
        slots = [table[p // size] * size + p % size for p in range(context_len)]
        key, value = key_cache.flatten(0, 1)[slots], value_cache.flatten(0, 1)[slots]
        past = context_len - q_len
        outs.append(oracle(query[start : start + q_len], key, value, lambda i, j, p=past: j <= p + i)[0])
        start += q_len
    return torch.cat(outs)


def shared_by(tables, context_lens, query_lens, block_size, min_saved):
    """What sequences read together: full pages before their first queries; nothing if there is no `min_saved`."""
    shareable = (np.array(context_lens) - query_lens) // block_size
    return [] if min_saved is None else paged.shared_pages(tables.numpy(), shareable, min_saved)


@given(st.data(), st.sampled_from([1, 3, None]), st.sampled_from([1, 30, 8192]))
@settings(max_examples=60, deadline=None)
def test_paged_attention_of_mixed_batches(data, min_saved, max_gathered):
    """Catches wrong pages, offsets, padding and merges when decode, prefill and shared prefixes meet in a batch.

    The plan with shared prefixes and the plain one must both give the oracle's numbers, and no NaN may leak
    from slots that no token of the sequence lies in.
    """
    query, key_cache, value_cache, tables, context_lens, query_lens = paged_batch(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paged, "MAX_GATHERED_TOKENS", max_gathered)
        shared = shared_by(tables, context_lens, query_lens, key_cache.shape[1], min_saved)
        sizes = {"block_size": key_cache.shape[1], "num_kv_heads": 2}
        plan = paged.plan_attention(tables, context_lens, query_lens, **sizes, shared=shared)
    out = paged.paged_attention(query, key_cache, value_cache, plan)
    close(out, paged_oracle(query, key_cache, value_cache, tables, context_lens, query_lens))


@pytest.mark.parametrize("query_lens", [[1, 1], [3, 3], [4, 4], [5, 2], [8, 8]])
def test_shared_pages_that_hold_the_queries_themselves(query_lens):
    """Catches a page shared as a prefix of queries that lie in it: they would see the tokens after them."""
    caches = rand(2, 6, 4, 2, 8)
    query, tables = rand(sum(query_lens), 4, 8, seed=1), torch.tensor([[3, 1], [3, 1]])
    rows = TableRows(SimpleNamespace(block_size=4, block_tables={"a": [3, 1], "b": [3, 1]}), least_saved=1)
    rows.choose({"a": False, "b": False}, 8 - np.array(query_lens))  # as the engine looks for them
    plan = paged.plan_attention(tables, [8, 8], query_lens, block_size=4, num_kv_heads=2, shared=rows.shared)
    assert len(plan.shared) == (max(query_lens) <= 4)
    out = paged.paged_attention(query, *caches, plan)
    close(out, paged_oracle(query, *caches, tables, [8, 8], query_lens))


def test_a_shared_prefix_is_read_once():
    """Catches a plan that finds no group, so that the fast path is never taken, and one that copies per
    sequence.
    """
    tables = torch.tensor([[5, 6, 7, 0], [5, 6, 7, 1], [5, 6, 7, 2], [9, 8, 4, 3]])
    lens = [13, 14, 15, 16]
    shared = shared_by(tables, lens, [1] * 4, 4, 6)
    plan = paged.plan_attention(tables, lens, None, block_size=4, num_kv_heads=1, shared=shared)
    ((rows, table, num_tokens),) = plan.shared
    assert (rows.tolist(), table.tolist(), num_tokens) == ([0, 1, 2], [5, 6, 7], 12)
    assert sum(part.kv_rows.shape[-1] for part in plan.decode) == 16
    assert shared_by(tables, lens, [1] * 4, 4, 7) == []


@pytest.mark.parametrize(("heads", "kv_heads", "head_dim"), [(2, 2, 64), (4, 1, 80), (7, 1, 128), (16, 2, 64)])
@pytest.mark.parametrize("block_size", [1, 16])
def test_a_tree_of_shared_pages_in_float32(heads, kv_heads, head_dim, block_size):
    """Catches a level that is merged with the wrong rows or twice, at own lengths around a page: plain and shared must
    both be as near to the float64 oracle as sums of float32 in another order are (2e-6)."""
    per_level, own = 32 // block_size, [1, 15, 16, 17, 33, 16, 1]
    pages = iter(np.random.default_rng(0).permutation(400).tolist())
    root, left, right = ([next(pages) for _ in range(per_level)] for _ in range(3))
    starts = [root + left, root + left, root + left, root + right, root + right, root, []]
    tables = torch.zeros(7, 2 * per_level + 33, dtype=torch.int64)
    for row, (start, n) in enumerate(zip(starts, own, strict=True)):
        table = start + [next(pages) for _ in range(-(-n // block_size))]
        tables[row, : len(table)] = torch.tensor(table)
    lens = [len(start) * block_size + n for start, n in zip(starts, own, strict=True)]
    query = rand(7, heads, head_dim, seed=1, dtype=torch.float32)
    caches = rand(2, 400, block_size, kv_heads, head_dim, dtype=torch.float32)
    wanted = paged_oracle(query.double(), *caches.double(), tables, lens, [1] * 7)
    for min_saved, num_shared in ((1, 3), (None, 0)):
        shared = shared_by(tables, lens, [1] * 7, block_size, min_saved)
        plan = paged.plan_attention(tables, lens, None, block_size=block_size, num_kv_heads=kv_heads, shared=shared)
        assert len(plan.shared) == num_shared
        for fast in (True, False):
            out = paged.paged_attention(query, *caches, plan, None, fast)
            assert (out - wanted).abs().max() < 2e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_paged_attention_in_half_precision(dtype):
    """Catches a half cache that a float32 kernel refuses or misreads: the pool's default dtype is float16."""
    caches = rand(2, 9, 4, 2, 8, dtype=dtype)
    query, tables = rand(5, 4, 8, seed=1, dtype=dtype), torch.tensor([[3, 1, 8], [0, 2, 4]])
    plan = paged.plan_attention(tables, [9, 11], [1, 4], block_size=4, num_kv_heads=2)
    out = paged.paged_attention(query, *caches, plan)
    assert out.dtype == dtype
    close(out, paged_oracle(query, *caches, tables, [9, 11], [1, 4]).to(dtype), 1e-2)


# --- the block ----------------------------------------------------------------------------------------------


def block(hidden_size=32, num_heads=4, head_dim=8, seed=0, **kwargs):
    torch.manual_seed(seed)
    return RadixAttentionBlock(hidden_size, num_heads, head_dim, **kwargs).requires_grad_(False)


def block_oracle(attention_block, x, positions=None):
    """The whole block for one sequence `[q_len, hidden_size]` in float64, token by token."""
    double = {name: weight.double() for name, weight in attention_block.state_dict().items()}
    positions = torch.arange(len(x)) if positions is None else positions
    query, key, value = (
        (x.double() @ double[f"{name}_proj.weight"].T).unflatten(-1, (-1, attention_block.head_dim)) for name in "qkv"
    )
    angles = positions.double()[:, None, None] * rope.rope_inv_freq(attention_block.head_dim).double()
    query, key = rope.rotate(query, angles.cos(), angles.sin()), rope.rotate(key, angles.cos(), angles.sin())
    out = oracle(query, key, value, lambda i, j: j <= i)[0]
    return out.flatten(1) @ double["o_proj.weight"].T


@pytest.mark.parametrize("num_kv_heads", [None, 2, 1])
def test_block_against_the_oracle(num_kv_heads):
    """Catches a missing causal mask, wrong heads and wrong positions, all at once."""
    attention_block, x = block(num_kv_heads=num_kv_heads), rand(2, 17, 32)
    output = attention_block(x)
    for s in range(2):
        close(output[s], block_oracle(attention_block, x[s]))


def test_block_is_the_attention_of_transformers():
    """Catches a convention of our own in weights, heads or rotation: checkpoints would not load."""
    import transformers
    from transformers.models.llama import modeling_llama

    config = transformers.LlamaConfig(
        hidden_size=32, num_attention_heads=4, num_key_value_heads=2, head_dim=8, attn_implementation="eager"
    )
    theirs = modeling_llama.LlamaAttention(config, layer_idx=0).eval().requires_grad_(False)
    ours = block(num_kv_heads=2)
    ours.load_state_dict(theirs.state_dict())
    x = rand(2, 9, 32)
    positions = modeling_llama.LlamaRotaryEmbedding(config)(x, torch.arange(9)[None])
    mask = torch.full((9, 9), -math.inf).triu(1)[None, None]
    close(ours(x), theirs(x, position_embeddings=positions, attention_mask=mask)[0], 1e-5)


def test_the_future_does_not_reach_the_past():
    """Catches attention without a causal mask."""
    attention_block, x = block(), rand(1, 9, 32)
    changed = x.clone()
    changed[:, 6:] = 5
    before, after = attention_block(x), attention_block(changed)
    assert torch.equal(before[:, :6], after[:, :6])
    assert not torch.allclose(before[:, 6:], after[:, 6:])


@pytest.mark.parametrize("chunks", [[1] * 9, [4, 5], [1, 7, 1], [8, 1]])
def test_cached_decode_equals_the_full_pass(chunks):
    """Catches RoPE that starts at 0 again after the past, and a mask without offset in chunked prefill."""
    attention_block, x = block(num_kv_heads=2), rand(2, 9, 32)
    outputs, past = [], None
    for chunk in x.split(chunks, dim=1):
        output, nothing, past = attention_block(chunk, past_key_value=past, use_cache=True)
        assert nothing is None
        outputs.append(output)
    close(torch.cat(outputs, dim=1), attention_block(x))
    assert past[0].shape == past[1].shape == (2, 9, 2, 8)


def test_position_ids_are_used():
    """Catches position_ids that are accepted and ignored; a common shift alone must change nothing."""
    attention_block, x = block(), rand(1, 6, 32)
    gaps = torch.tensor([0, 1, 5, 6, 20, 21])
    close(attention_block(x, position_ids=gaps)[0], block_oracle(attention_block, x[0], gaps))
    close(attention_block(x, position_ids=gaps[None])[0], block_oracle(attention_block, x[0], gaps))
    assert not torch.allclose(attention_block(x), attention_block(x, position_ids=gaps), atol=1e-3)
    close(attention_block(x, position_ids=torch.arange(70, 76)), attention_block(x), 1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_input_dtype_may_differ_from_the_weights(dtype):
    """Catches float16 input that meets float32 weights and raises."""
    attention_block, x = block(), rand(1, 6, 32, dtype=dtype)
    output, _, past = attention_block(x, use_cache=True)
    assert output.dtype == dtype
    assert past[0].dtype == torch.float32
    close(output, block_oracle(attention_block, x[0])[None].to(dtype), 1e-2)


def test_half_weights_keep_float32_angles():
    """Catches a table of cosines that turns into half precision with the weights."""
    attention_block, x = block().half(), rand(1, 6, 32)
    far = torch.arange(3000, 3006)
    close(attention_block(x, position_ids=far)[0], block_oracle(attention_block, x[0], far), 5e-3)


def test_longer_than_max_position_embeddings_works():
    """Catches a table of fixed length: an input one longer raises a shape error."""
    attention_block, x = block(max_position_embeddings=8), rand(1, 13, 32)
    close(attention_block(x)[0], block_oracle(attention_block, x[0]))
    _, _, past = attention_block(x[:, :8], use_cache=True)
    close(attention_block(x[:, 8:], past_key_value=past)[0], attention_block(x)[:, 8:])


def test_padding_is_not_seen():
    """Catches keys at padding that take part in the softmax, and a NaN there that gets through a weight of 0."""
    attention_block, x = block(num_kv_heads=2), rand(3, 7, 32)
    lens = [7, 4, 1]
    for s, length in enumerate(lens):
        x[s, length:] = math.nan
    mask = torch.tensor([[j < length for j in range(7)] for length in lens])
    by_lens, by_mask = (attention_block(x, seq_lens=torch.tensor(lens)), attention_block(x, attention_mask=mask.int()))
    for s, length in enumerate(lens):
        alone = attention_block(x[s : s + 1, :length])[0]
        close(by_lens[s, :length], alone)
        close(by_mask[s, :length], alone)
    # Padding on the left: positions are shifted by it, which RoPE does not mind. The past is padded as well.
    left = x.clone()
    for s, length in enumerate(lens):
        left[s] = torch.cat((x[s, length:], x[s, :length]))
    mask = mask.flip(1)
    _, _, past = attention_block(left[:, :5], use_cache=True, attention_mask=mask[:, :5])
    output, _, _ = attention_block(left[:, 5:], past_key_value=past, attention_mask=mask)
    for s, length in enumerate(lens):
        kept = min(length, 2)
        close(output[s, -kept:], attention_block(x[s : s + 1, :length])[0, -kept:], 1e-4)


@pytest.mark.parametrize(
    ("match", "arguments"),
    [
        ("even", {"head_dim": 7}),
        ("num_kv_heads", {"num_kv_heads": 3}),
        ("positive", {"num_kv_heads": 0}),
        ("positive", {"hidden_size": 0}),
        (r"inv_freq must be \[4\]", {"inv_freq": torch.ones(8)}),
    ],
)
def test_sizes_that_do_not_fit_are_refused_at_construction(match, arguments):
    """Catches an odd head_dim that raises only in the first forward, from deep inside the rotation."""
    with pytest.raises(ValueError, match=match):
        block(**arguments)


def test_bad_inputs_name_what_was_expected():
    """Catches shape errors that surface inside a matrix product."""
    attention_block, x = block(num_kv_heads=2), rand(2, 5, 32)
    past = rand(2, 2, 3, 2, 8)
    for match, call in [
        (r"\[num_seqs, q_len, 32\]", lambda: attention_block(x[0])),
        (r"\[num_seqs, q_len, 32\]", lambda: attention_block(x[..., :31])),
        ("past_key_value", lambda: attention_block(x, past_key_value=tuple(past[:, :1]))),
        ("past_key_value", lambda: attention_block(x, past_key_value=tuple(past.transpose(2, 3)))),
        ("past_len \\+ q_len=8", lambda: attention_block(x, past_key_value=past, attention_mask=torch.ones(2, 5))),
        ("not both", lambda: attention_block(x, attention_mask=torch.ones(2, 5), seq_lens=[5, 5])),
        ("seq_lens must lie in 0..5", lambda: attention_block(x, seq_lens=[5, 6])),
        ("seq_lens must be 2 integers", lambda: attention_block(x, seq_lens=[5])),
    ]:
        with pytest.raises(ValueError, match=match):
            call()


def test_what_the_flash_kernel_takes():
    """Catches a fast way that is never taken, which no result shows; and one taken for numbers that do not lie side by
    side, which PyTorch's kernel does not check.
    """
    x = torch.zeros(1, 4, 2, 8)
    strided = torch.zeros(1, 4, 8, 2).transpose(2, 3)
    assert attention.flash_kernel_takes(x, x, x)
    assert attention.flash_kernel_takes(x, x[:, 1:], x.transpose(1, 2))
    for place, other in itertools.product(range(3), (strided, x.half(), x.double())):
        assert not attention.flash_kernel_takes(*(other if n == place else x for n in range(3)))
    assert not attention.flash_kernel_takes(*[x.to("meta")] * 3)
