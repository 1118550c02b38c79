"""Every rung of paged attention against a float64 oracle, in the emulator's check mode: right, and without a finding.

On a machine with a GPU the same tests run there (`backend="auto"`); the check mode is the emulator's.

Tolerances are absolute, for values of normal distribution with variance 1: float32 results differ from the oracle by
the order of sums (2e-5); results in float16 and bfloat16 are rounded once, to 11 and 8 bits, at magnitudes below 4
(2e-3, 1.6e-2).
"""

import math
import re
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import yaie.cuda
from yaie.kernels import api, ops, paged
from yaie.kernels.ops import paged_attention

FOLDER = ops.CSRC / "paged_attention"
TOLERANCE = {torch.float32: 2e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
DTYPES = tuple(TOLERANCE)
CODES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}
PLAIN = ("paged_decode_1_thread_per_head", "paged_decode_2_warp_per_head", "paged_decode_3_grouped")
RUNGS = (*PLAIN, "paged_decode_4_split_kv", "paged_decode_5_async")
TENSOR_CORES = "paged_decode_6_tensor_cores"  # 16-bit types, head_dim up to 128
ONLY_FLOAT32, ONLY_FLOAT16 = ("-DYAIE_DTYPES=1",), ("-DYAIE_DTYPES=2",)  # for time; as in csrc/common.cuh
UP_TO_64 = "-DYAIE_MAX_HEAD_DIM=64"
GARBAGE = 10**9  # in entries of a block table that must not be read


@cache
def module(name):
    return yaie.cuda.load(FOLDER / f"{name}.cu")


def on_device(tensor):
    return tensor.cuda() if torch.cuda.is_available() else tensor


class Batch:
    """A cache of random values, pages in random order, and random queries, `query_lens[s]` of them for sequence s."""

    def __init__(
        self,
        context_lens,
        *,
        query_lens=None,
        block_size=16,
        num_heads=4,
        num_kv_heads=1,
        head_dim=64,
        dtype=torch.float32,
        size=1.0,
    ):
        seed = int(torch.randint(2**31, ()))
        generator = torch.Generator().manual_seed(seed)
        self.context_lens = context_lens
        self.query_lens = [1] * len(context_lens) if query_lens is None else query_lens
        blocks = [-(-n // block_size) for n in context_lens]
        num_blocks = sum(blocks) + 1
        order = torch.randperm(num_blocks, generator=generator).tolist()
        max_blocks = max(blocks) + 2
        tables = [[order.pop() for _ in range(n)] + [GARBAGE] * (max_blocks - n) for n in blocks]
        shape = (num_blocks, block_size, num_kv_heads, head_dim)

        def random(*shape):
            return on_device((size * torch.randn(*shape, generator=generator)).to(dtype))

        self.query = random(sum(self.query_lens), num_heads, head_dim)
        self.key_cache, self.value_cache = random(*shape), random(*shape) / size
        used = torch.zeros(num_blocks * block_size, dtype=torch.bool)
        for table, n in zip(tables, context_lens, strict=True):
            for position in range(n):
                used[table[position // block_size] * block_size + position % block_size] = True
        for cache_ in (self.key_cache, self.value_cache):  # what belongs to nobody must reach nobody
            cache_.view(-1, num_kv_heads, head_dim)[on_device(~used)] = math.nan
        self.tables = on_device(torch.tensor(tables, dtype=torch.int32))
        self.lens = on_device(torch.tensor(context_lens, dtype=torch.int32))
        self.scale = head_dim**-0.5
        self.out = torch.full_like(self.query, math.nan)

    def oracle(self):
        """[num_tokens, num_heads, head_dim] float64: gather, softmax, average."""
        rows, start = [], 0
        keys, values = self.key_cache.double().cpu(), self.value_cache.double().cpu()
        block_size, num_kv_heads = self.key_cache.shape[1:3]
        group = self.query.shape[1] // num_kv_heads
        for table, n, q_len in zip(self.tables.cpu(), self.context_lens, self.query_lens, strict=True):
            table = table[: -(-n // block_size)].long()
            key, value = (x[table].flatten(0, 1)[:n].repeat_interleave(group, dim=1) for x in (keys, values))
            for i in range(q_len):
                visible = n - q_len + i + 1
                query = self.query[start + i].double().cpu()
                if visible <= 0:
                    rows.append(torch.zeros_like(query))
                    continue
                scores = torch.einsum("hd,khd->hk", query, key[:visible]) * self.scale
                rows.append(torch.einsum("hk,khd->hd", scores.softmax(dim=-1), value[:visible]))
            start += q_len
        return torch.stack(rows)

    def shape(self, num_tiles, tile_tokens=1, num_splits=1, split_tokens=1):
        num_heads, head_dim = self.query.shape[1:]
        _, block_size, num_kv_heads, _ = self.key_cache.shape
        return {
            "num_tiles": num_tiles,
            "tile_tokens": tile_tokens,
            "num_heads": num_heads,
            "num_kv_heads": num_kv_heads,
            "head_dim": head_dim,
            "block_size": block_size,
            "max_blocks": self.tables.shape[1],
            "num_splits": num_splits,
            "split_tokens": split_tokens,
            "scale": self.scale,
            "dtype": CODES[self.query.dtype],
        }

    def decode(self, rung, num_splits=2, split_tokens=32):
        caches = (self.query, self.key_cache, self.value_cache, self.tables, self.lens)
        num_seqs, num_heads, head_dim = self.query.shape
        shape = self.shape(num_seqs, 1, num_splits, split_tokens)
        if rung in PLAIN:
            getattr(module(rung), rung)(*caches, self.out, shape)
        else:
            parts = self.query.new_full((num_seqs, num_heads, num_splits, head_dim), math.nan, dtype=torch.float32)
            lse = torch.full_like(parts[..., 0].contiguous(), math.nan)
            splits = [parts, lse]
            if rung in (RUNGS[4], TENSOR_CORES):
                splits.append(on_device(torch.zeros(num_seqs, self.key_cache.shape[2], dtype=torch.int32)))
            for _ in splits[1:]:  # the second time, the counters must be 0 again
                self.out.fill_(math.nan)
                getattr(module(rung), rung)(*caches, None, self.out, *splits, shape)
        return self.out

    def prefill(self, tile_tokens=None, rung=None):
        """By a rung of flash attention, else by the kernel without tensor cores."""
        group = self.query.shape[1] // self.key_cache.shape[2]
        tile_tokens = tile_tokens or max(1, 16 // group)
        tiles, start = [], 0
        for s, (n, q_len) in enumerate(zip(self.context_lens, self.query_lens, strict=True)):
            for i in range(0, q_len, tile_tokens):
                tiles.append((s, start + i, min(tile_tokens, q_len - i), n - q_len + i + 1))
            start += q_len
        caches = self.query, self.key_cache, self.value_cache, self.tables
        on_card = on_device(torch.tensor(tiles, dtype=torch.int32))
        shape = self.shape(len(tiles), tile_tokens)
        if rung:
            file, name = paged_attention.Kernels.OVER_PAGES[rung]
            sizes = [size for name, size in shape.items() if name not in ("num_splits", "split_tokens")]
            more = []
            if rung == 6:
                more.append(on_device(torch.empty(1, dtype=torch.int32)))
                sizes[2:2] = len(self.query), len(self.key_cache)
            getattr(module(f"../{file.removesuffix('.cu')}"), name)(*caches, on_card, self.out, *more, *sizes)
        else:
            module("paged_prefill").paged_prefill(*caches, on_card, self.out, shape)
        return self.out

    def check(self, out):
        torch.testing.assert_close(out.double().cpu(), self.oracle(), rtol=0, atol=TOLERANCE[self.query.dtype])


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_contexts_around_a_block(rung, dtype):
    """Context 1, a block minus and plus one, 33 keys (more than a warp), an empty slot: the guide's kernel saw only its
    own slot, divided by nothing, and wrote past the output."""
    batch = Batch([1, 15, 0, 16, 17, 33], dtype=dtype)
    batch.check(batch.decode(rung))


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize(
    ("num_heads", "num_kv_heads", "head_dim", "dtype"),
    [
        (2, 2, 80, torch.float16),
        (8, 2, 128, torch.bfloat16),
        (7, 1, 64, torch.bfloat16),
        (6, 1, 32, torch.float32),
        (18, 1, 40, torch.float32),
        (4, 2, 256, torch.float16),
        (3, 1, 136, torch.float32),
        (5, 5, 8, torch.float32),
    ],
)
def test_heads_and_head_dims(rung, num_heads, num_kv_heads, head_dim, dtype):
    """A query head that reads the wrong KV head, lanes beyond head_dim, a group that does not fill the warps."""
    batch = Batch([35, 3], block_size=5, num_heads=num_heads, num_kv_heads=num_kv_heads, head_dim=head_dim, dtype=dtype)
    batch.check(batch.decode(rung))


@pytest.mark.parametrize(
    ("block_size", "num_heads", "num_kv_heads", "head_dim", "dtype"),
    [
        (1, 8, 1, 128, torch.float16),
        (7, 7, 1, 64, torch.bfloat16),
        (16, 32, 2, 80, torch.float16),
        (16, 5, 5, 128, torch.bfloat16),
        (3, 33, 3, 72, torch.bfloat16),
        (256, 17, 1, 8, torch.float16),
    ],
)
def test_decode_on_tensor_cores(block_size, num_heads, num_kv_heads, head_dim, dtype):
    """Groups that do not fill the rows of an mma, or need several thread blocks; contexts around a tile, and of more
    tiles than a warp has stages; splits without keys; scores that overflow without their maximum."""
    options = {"num_heads": num_heads, "num_kv_heads": num_kv_heads, "head_dim": head_dim, "dtype": dtype}
    batch = Batch([1, 15, 0, 16, 17, 33, 129, 300], block_size=block_size, **options)
    for num_splits, split_tokens in ((1, 1), (2, 32), (5, 64)):
        batch.out.fill_(math.nan)
        batch.check(batch.decode(TENSOR_CORES, num_splits, split_tokens))
    batch = Batch([150], block_size=block_size, size=20.0, **options)
    out = batch.decode(TENSOR_CORES)
    torch.testing.assert_close(out.double().cpu(), batch.oracle(), rtol=0, atol=2 * TOLERANCE[dtype])


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("block_size", [1, 3, 256])
def test_block_sizes(rung, block_size):
    """Slots are found by division and remainder: a shift, or a page that a tile does not leave, shows here."""
    batch = Batch([37, 130], block_size=block_size, num_heads=2, head_dim=32, dtype=torch.float16)
    batch.check(batch.decode(rung))


@pytest.mark.parametrize("rung", RUNGS)
def test_large_scores(rung):
    """Scores of some thousands: without the maximum subtracted, or with one that is not corrected when it grows, exp
    overflows. The softmax is close to one-hot, so rounding of the scores is what remains: 1e-3."""
    batch = Batch([70, 20], size=30.0, head_dim=32)
    out = batch.decode(rung)
    torch.testing.assert_close(out.double().cpu(), batch.oracle(), rtol=0, atol=1e-3)


@pytest.mark.parametrize("num_splits", [1, 2, 5])
@pytest.mark.parametrize("split_tokens", [1, 32, 100])
@pytest.mark.parametrize(("rung", "dtype"), [(RUNGS[3], torch.float32), (RUNGS[4], torch.float16)])
def test_splits(rung, dtype, num_splits, split_tokens):
    """However a context is split the result is the same; splits without keys leave no trace. Contexts that need more
    splits than there are get longer ones, as in a CUDA graph whose sequences have grown."""
    batch = Batch([1, 0, 64, 201], num_heads=2, head_dim=32, dtype=dtype)
    batch.check(batch.decode(rung, num_splits, split_tokens))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("num_heads", "num_kv_heads"), [(4, 4), (4, 1), (7, 1), (20, 1)])
def test_prefill_after_a_cached_prefix(num_heads, num_kv_heads, dtype):
    """Each query sees the cached prefix and the new tokens up to itself; a decode is a chunk of one token."""
    batch = Batch(
        [40, 5, 33, 0, 17],
        query_lens=[7, 5, 1, 0, 17],
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=32,
        dtype=dtype,
    )
    batch.check(batch.prefill(128))
    if dtype != torch.float32:
        batch.check(batch.prefill(128, rung=4))


@pytest.mark.parametrize(("rung", "tile_tokens"), [(None, 1), (None, 2), (None, 5), (4, 1), (4, 16)])
def test_tiles_of_a_prefill(rung, tile_tokens):
    """Tiles that leave warps without rows, and tiles that need several thread blocks."""
    batch = Batch([20], query_lens=[19], num_heads=11, num_kv_heads=1, head_dim=40, dtype=torch.float16)
    batch.check(batch.prefill(tile_tokens, rung))


def needs_hopper():
    if torch.cuda.is_available() and torch.cuda.get_device_capability() != (9, 0):
        pytest.skip("this rung is for Hopper")


SHAPES = [(1, 8, 2, 64), (7, 7, 1, 128), (16, 16, 1, 80), (16, 2, 2, 128), (3, 3, 1, 256), (256, 4, 4, 64)]
FOR_HOPPER = [shape for shape in [*SHAPES, (48, 14, 2, 64)] if shape[-1] in (64, 128)]


@pytest.mark.parametrize(
    ("rung", "block_size", "num_heads", "num_kv_heads", "head_dim"),
    [(rung, *shape) for rung, shapes in ((4, SHAPES), (6, FOR_HOPPER)) for shape in shapes],
)
def test_prefill_on_tensor_cores(rung, block_size, num_heads, num_kv_heads, head_dim):
    """Contexts of several tiles of keys, pages that begin anywhere in a tile, lengths around a tile, in one launch.
    What lies in the pages beyond a context is NaN: a key that no row sees must not come through as 0 * NaN."""
    batch = Batch(
        [150, 1, 129, 64, 65, 0, 33],
        query_lens=[17, 1, 33, 16, 15, 0, 33],
        block_size=block_size,
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        dtype=torch.bfloat16,
    )
    if rung == 6:
        needs_hopper()
    batch.check(batch.prefill(128 if rung == 6 else 16, rung))


def test_what_a_smaller_build_leaves_out_is_refused(monkeypatch):
    """Would catch a build option that is ignored, which only costs time, and one that computes with the wrong type."""
    flags = ("-DYAIE_DTYPES=1", "-DYAIE_MAX_HEAD_DIM=128")
    smaller = yaie.cuda.load(FOLDER / f"{RUNGS[2]}.cu", flags=flags)
    monkeypatch.setitem(globals(), "module", lambda rung: smaller)
    batch = Batch([20], head_dim=128)
    batch.check(batch.decode(RUNGS[2]))
    for options in ({"dtype": torch.float16}, {"head_dim": 136}):
        with pytest.raises(yaie.cuda.KernelError, match=r"error 1\b|cudaErrorInvalidValue"):
            Batch([20], **options).decode(RUNGS[2])


# --- what the rungs move, and what the tests would catch --------------------------------------------------------


@pytest.mark.skipif(torch.cuda.is_available(), reason="the emulator counts; on a GPU a profiler does")
def test_rungs_gain_what_their_header_says():
    """A rung that does not do what its comment claims teaches something wrong. Four heads read 2 x 256 tokens."""
    moved, kv_bytes = {}, 2 * 2 * 256 * 128 * 2  # keys and values, sequences, tokens, head_dim, bytes
    for rung in RUNGS:
        batch = Batch([256, 256], head_dim=128, dtype=torch.bfloat16)
        batch.decode(rung, 2, 128)
        profile = module(rung).profile()
        # The elements of keys and values are read in lines that read nothing else.
        loads = [p for p in profile.lines if (p.space, p.operation) == ("global", "load") and p.requests >= 64]
        moved[rung] = sum(p.bytes_moved for p in loads if p.bytes_per_lane != 4)
        assert profile.bank_conflicts == 0
    first, second, third, fourth, fifth = (moved[rung] / kv_bytes for rung in RUNGS)
    assert first > 16  # a sector of 32 bytes for 2 of them, and the queries again with every key
    assert 4 <= second < 4.1  # each of the four heads
    assert 1 <= third < 1.1
    assert 1 <= fourth < 1.1
    assert 1 <= fifth < 1.1


def text_of(path, seen=None):
    """A file with the headers of its folder in it, each once."""
    seen = set() if seen is None else seen

    def put_in(match):
        header = FOLDER / match[1]
        if not header.is_file() or header.parent.resolve() != FOLDER:
            return match[0]
        if header in seen:
            return ""
        seen.add(header)
        return text_of(header, seen).replace("#pragma once", "")

    return re.sub(r'^#include "(.+)"$', put_in, path.read_text(), flags=re.MULTILINE)


def planted(rung, old, new, flags=()):
    """A rung with a bug in it; None if it has no such code."""
    text = text_of(FOLDER / f"{rung}.cu")
    return yaie.cuda.load(text.replace(old, new), path=FOLDER / f"{rung}.cu", flags=flags) if old in text else None


BUGS = {
    "P1 a query sees only its own slot": (
        "slot_of_token(block_table, position, a.block_size)",
        "slot_of_token(block_table, a.context_lens[seq] - 1, a.block_size)",
    ),
    "P2 no normalisation": ("sums[i] / total", "sums[i]"),
    "P3 no 1/sqrt(d)": ("const float scale = s.scale * LOG2_E;", "const float scale = LOG2_E;"),
    "P4 no maximum subtracted": ("const float larger = fmaxf(largest, score);", "const float larger = 0.0f;"),
    "P5 a guard on something else": ("index >= a.num_tiles * a.num_heads", "index >= a.context_lens[0] * a.num_heads"),
    "P6 strides by the context": (
        "a.block_tables + static_cast<int64_t>(seq) * a.max_blocks",
        "a.block_tables + static_cast<int64_t>(seq) * a.context_lens[seq] / a.block_size",
    ),
    "P7 warps share one buffer": ("weights[me.warp][buffer]", "weights[0][buffer]"),
    "P8 no barrier in a warp": ("    __syncwarp();\n", ""),
    "P8 no barrier in a block": ("    __syncthreads();\n", ""),
    "P10 the wrong number of KV heads": ("(a.num_heads / a.num_kv_heads)", "a.num_heads"),
    "the correction is left out": ("sums[i] * correction", "sums[i]"),
    "a split counts keys of the next": (
        "token_of(share.warp_row + me.my_row), end)",
        "token_of(share.warp_row + me.my_row), 1 << 30)",
    ),
}


@pytest.mark.parametrize("bug", BUGS)
@pytest.mark.skipif(torch.cuda.is_available(), reason="an overrun would damage what else is on the card")
def test_planted_bugs_are_caught(monkeypatch, bug):
    """The bugs of the guide's kernel (P1 to P10) and two more: tests that let one through prove nothing."""
    broken = {rung: planted(rung, *BUGS[bug], (*ONLY_FLOAT32, UP_TO_64)) for rung in (RUNGS[1], RUNGS[3])}
    rungs = [rung for rung in broken if broken[rung]]
    assert rungs
    monkeypatch.setitem(globals(), "module", broken.get)
    size = 30.0 if "maximum" in bug else 1.0
    batch = Batch([200, 37, 1], num_heads=6, num_kv_heads=2, head_dim=32, size=size)

    def decode_and_check():
        for rung in rungs:
            batch.check(batch.decode(rung))

    with pytest.raises((AssertionError, yaie.cuda.KernelError)):
        decode_and_check()


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU the copy may happen to be there in time")
def test_forgotten_wait_is_caught(monkeypatch):
    """What a lane copies asynchronously is not there before it has waited for it."""
    wait = "yaie::cp_async_wait<STAGES - 1>();"
    broken = planted(RUNGS[4], wait, "", (*ONLY_FLOAT16, UP_TO_64))
    assert broken
    monkeypatch.setitem(globals(), "module", lambda rung: broken)
    batch = Batch([70], num_heads=2, head_dim=32, dtype=torch.float16)
    with pytest.raises((AssertionError, yaie.cuda.KernelError)):
        batch.check(batch.decode(RUNGS[4]))


TENSOR_CORE_BUGS = {
    "a tile not waited for": ("yaie::cp_async_wait<STAGES - 1>();", ""),
    "what other lanes copied is not waited for": ("barrier();                          // what", "// what"),
    "a tile is overwritten while others read it": ("barrier();  // nobody reads", "// nobody reads"),
    "parts are counted before they are there": ("__threadfence();  // the parts that this thread", "// the parts"),
    "a counter that stays": ("*counter = 0;", ""),
    "the last block is one too early": ("== num_blocks - 1;", "== num_blocks - 2;"),
}


@pytest.mark.parametrize("bug", TENSOR_CORE_BUGS)
@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU it may happen to go well")
def test_bugs_of_rung_6_are_caught(monkeypatch, bug):
    """Rung 6 hands tiles from lane to lane and parts from block to block: each step of that is needed."""
    broken = planted(TENSOR_CORES, *TENSOR_CORE_BUGS[bug], (*ONLY_FLOAT16, UP_TO_64))
    assert broken
    monkeypatch.setitem(globals(), "module", lambda rung: broken)
    batch = Batch([300], num_heads=5, num_kv_heads=1, head_dim=64, dtype=torch.float16)
    with pytest.raises((AssertionError, yaie.cuda.KernelError)):
        batch.check(batch.decode(TENSOR_CORES))


# --- behind yaie.kernels.api ---------------------------------------------------------------------------------

BACKEND = "cuda" if torch.cuda.is_available() else "emulator"
DECODES = tuple(paged_attention.Kernels.RUNGS["paged_decode"])


@pytest.mark.parametrize("rung", DECODES)
@pytest.mark.parametrize("table_dtype", [torch.int32, torch.int64])
def test_mixed_batch_through_the_api(rung, table_dtype):
    """Chunks of prompts and decodes in one call, in any order, with a plan or without: a row written twice or never, or
    a decode that gets the table of its neighbour."""
    backend = ops.KernelOperations(BACKEND, rungs={"paged_decode": rung})
    query_lens = [1, 7, 0, 1, 5]
    batch = Batch([300, 20, 9, 17, 5], query_lens=query_lens, num_heads=4, num_kv_heads=2, head_dim=32)
    caches = batch.key_cache, batch.value_cache
    tables = batch.tables.to(table_dtype)
    batch.check(
        api.paged_attention_forward(
            batch.query, *caches, tables, batch.context_lens, query_lens=query_lens, backend=backend
        )
    )
    plan = api.plan_attention(tables, batch.context_lens, query_lens, batch.key_cache, backend=backend)
    for _ in range(2):  # a plan serves every layer
        out = api.paged_attention_forward(batch.query, *caches, tables, batch.context_lens, plan=plan, backend=backend)
        batch.check(out)


@pytest.mark.parametrize(
    ("rung", "dtype"), [*((rung, dtype) for rung in (2, 4) for dtype in DTYPES), (5, DTYPES[1]), (6, DTYPES[2])]
)
def test_prefills_between_decodes(rung, dtype):
    """Prefills go to tensor cores, to the kernel for float32, or to a plainer rung of flash attention, for which pages
    are gathered; the decodes between them to their own kernel: a row of the wrong sequence, a page of nobody, or a
    decode that was overwritten."""
    if rung >= 5:
        needs_hopper()
    if rung == 4 and dtype == torch.float32:
        backend = BACKEND
    else:
        backend = ops.KernelOperations(BACKEND, rungs={"flash_attention": rung})
    query_lens = [1, 70, 0, 1, 140, 33]
    shape = {"num_heads": 4, "num_kv_heads": 2, "head_dim": 64 if rung >= 5 else 32}
    batch = Batch([300, 90, 9, 17, 140, 50], query_lens=query_lens, **shape, dtype=dtype)
    pages = batch.tables, batch.context_lens
    plan = api.plan_attention(*pages, query_lens, batch.key_cache, backend=backend)
    assert (plan.gathered is None) == (rung in (4, 6))
    for scale in (None, -0.25, 0.0):
        batch.scale = batch.query.shape[-1] ** -0.5 if scale is None else scale
        caches = batch.key_cache, batch.value_cache
        out = api.paged_attention_forward(batch.query, *caches, *pages, scale=scale, plan=plan, backend=backend)
        batch.check(out)


@pytest.mark.parametrize("rung", DECODES)
def test_decodes_through_the_api(rung):
    """The way of a decode step, in both layouts, with a context long enough for several splits."""
    backend = ops.KernelOperations(BACKEND, rungs={"paged_decode": rung})
    batch = Batch([400, 1, 129], num_heads=2, head_dim=32, dtype=torch.bfloat16)
    arguments = batch.key_cache, batch.value_cache, batch.tables, batch.context_lens
    batch.check(api.paged_attention_forward(batch.query, *arguments, backend=backend))
    out = api.paged_attention_forward(batch.query[:, None], *arguments, backend=backend)
    batch.check(out[:, 0])


def test_plan_of_a_graph_serves_contexts_that_grow():
    """The plan of a captured graph is made once; tables and lengths are overwritten in place, also beyond the length
    that the splits were chosen for."""
    batch = Batch([700, 0], num_heads=2, head_dim=32)
    lens, tables = batch.lens.clone(), batch.tables.clone()
    batch.lens.zero_()
    batch.tables.zero_()
    operations = ops.operations(BACKEND)
    plan = operations.decode_plan(batch.tables, batch.lens, 256, batch.key_cache)
    assert plan.num_splits == 4
    # A graph is made for the longest context of a model; a short one must still be shared out.
    assert operations.decode_plan(batch.tables, batch.lens, 32768, batch.key_cache).split_tokens == 64
    batch.lens.copy_(lens)
    batch.tables.copy_(tables)
    out = operations.paged_attention_forward(
        batch.query, batch.key_cache, batch.value_cache, None, None, None, None, plan
    )
    batch.check(out)


@cache
def checked_operations():
    return ops.KernelOperations(BACKEND, check=BACKEND == "emulator")


def tree_of_pages(block_size, per_level, own, num_kv_heads, head_dim, dtype):
    """Caches, tables, lengths, and what is shared, of sequences in a shuffled order: three behind two levels of shared
    pages, two behind another second level, one behind the first, one for itself."""
    generator = torch.Generator().manual_seed(int(torch.randint(2**31, ())))
    in_level = -(-per_level // block_size)
    caches = torch.randn(2, 500, block_size, num_kv_heads, head_dim, generator=generator).to(dtype)
    pages = iter(torch.randperm(500, generator=generator).tolist())
    root, left, right = ([next(pages) for _ in range(in_level)] for _ in range(3))
    starts = [root + left] * 3 + [root + right] * 2 + [root, []]
    tables, lens = np.full((7, 2 * in_level + 72), GARBAGE, dtype=np.int32), np.zeros(7, dtype=np.int32)
    for row, which in enumerate(torch.randperm(7, generator=generator).tolist()):
        table = starts[which] + [next(pages) for _ in range(-(-own[which] // block_size))]
        tables[row, : len(table)], lens[row] = table, len(starts[which]) * block_size + own[which]
    shared = paged.shared_pages(tables, (lens - 1) // block_size, 1)
    assert len(shared) == 3
    return on_device(caches), on_device(torch.from_numpy(tables)), lens, shared


def by_each(query, caches, tables, lens):
    """In float64, where each sequence reads all its pages."""
    sizes = {"block_size": caches.shape[2], "num_kv_heads": caches.shape[3]}
    plan = paged.plan_attention(tables.cpu(), lens, None, **sizes)
    return paged.paged_attention(query.double().cpu(), *caches.double().cpu(), plan)


@pytest.mark.parametrize(
    ("num_heads", "num_kv_heads", "head_dim", "block_size", "dtype"),
    [
        (2, 2, 64, 16, torch.float16),
        (4, 1, 80, 1, torch.bfloat16),
        (14, 2, 128, 16, torch.bfloat16),
        (40, 2, 64, 5, torch.float16),
    ],
    ids=str,
)
def test_shared_pages_are_read_once(num_heads, num_kv_heads, head_dim, block_size, dtype):
    """A tree of shared pages: a part in a neighbour's slot, a level that is merged twice or not at all, a piece that
    ends within a page; groups of more heads than a block has rows."""
    for own in ([1, 15, 16, 17, 33, 16, 1], [33, 1, 1, 16, 15, 64, 70]):
        caches, tables, lens, shared = tree_of_pages(block_size, 75, own, num_kv_heads, head_dim, dtype)
        query = on_device(torch.randn(7, num_heads, head_dim).to(dtype))
        operations = checked_operations()
        plan = operations.plan_attention(tables, lens, None, caches[0], shared)
        out = operations.paged_attention_forward(query, *caches, None, None, None, None, plan)
        difference = (out.double().cpu() - by_each(query, caches, tables, lens)).abs().max()
        assert difference < TOLERANCE[dtype]
        taken = plan.pieces.shared.cpu()
        assert taken.amax(dim=0).tolist() == [2 * -(-75 // block_size) * block_size, 4]  # two levels, two pieces each
        assert taken.amin(dim=0).tolist() == [0, 0]


def test_pieces_of_a_graph_change_in_place(monkeypatch):
    """Pieces stay where they are: what another batch left must not be read. A group that there is no slot for, and what
    nests in it, is read by each sequence, and so is everything of a row of padding, which has nothing."""
    caches, tables, lens, shared = tree_of_pages(16, 160, [9, 1, 40, 3, 5, 7, 30], 2, 32, torch.float16)
    query = on_device(torch.randn(8, 4, 32).half())
    static, context_lens = (
        on_device(torch.zeros(8, tables.shape[1], dtype=torch.int32)),
        on_device(torch.zeros(8)).int(),
    )
    static[:7] = tables
    operations = checked_operations()
    pieces = paged_attention.Pieces(8, 4, caches[0])
    place = pieces.pieces.data_ptr(), pieces.members.data_ptr(), pieces.shared.data_ptr()
    plan = operations.decode_plan(static, context_lens, 1024, caches[0], pieces)
    context_lens[:7] = on_device(torch.from_numpy(lens))
    levels = {16: 2, 5: 2, 3: 1}
    for slots, num_levels in levels.items():
        # Pieces of 64 keys: three a level. Where there are fewer slots than that, they are longer.
        monkeypatch.setattr(paged_attention, "MAX_PIECES_OF_SEQUENCE", slots)
        pieces.set(list(shared))
        out = operations.paged_attention_forward(query, *caches, None, None, None, None, plan)
        difference = (out[:7].double().cpu() - by_each(query[:7], caches, tables, lens)).abs().max()
        assert difference < TOLERANCE[torch.float16]
        assert (out[7] == 0).all()
        assert pieces.shared[:, 0].max() == num_levels * 160
    pieces.set([])
    assert not pieces.pieces.any()
    assert place == (pieces.pieces.data_ptr(), pieces.members.data_ptr(), pieces.shared.data_ptr())


def test_where_shared_pages_are_read_once():
    """Never by a rung that was asked for, nor where the kernel takes no such cache; else from 30 MB a layer on."""

    def least(dtype, head_dim, strict=True, **rungs):
        cache = on_device(torch.zeros(1, 16, 8, head_dim, dtype=dtype))
        return ops.KernelOperations(BACKEND, rungs={"shared_pages": 2} | rungs, strict=strict).least_saved_pages(cache)

    assert least(torch.float16, 128) == math.ceil(30e6 / (16 * 8 * 128 * 2 * 2))
    assert least(torch.float32, 128) is least(torch.float16, 136) is None
    assert least(torch.float16, 128, paged_decode=5) is least(torch.float16, 128, shared_pages=1) is None
    assert least(torch.float16, 128, strict=False, paged_decode=5) is None, "a wish for a rung is one for that rung"


def test_refused_by_name():
    """What the kernels cannot do is never computed wrongly: float64, a head_dim of 20, a cache of another dtype, a
    pool whose slots need more than 31 bits."""
    for head_dim, dtype in ((32, torch.float64), (20, torch.float32)):
        query, cache = (
            on_device(torch.zeros(1, 2, head_dim, dtype=dtype)),
            on_device(torch.zeros(2, 4, 1, head_dim, dtype=dtype)),
        )
        with pytest.raises(api.BackendError, match="float64" if head_dim == 32 else "20"):
            api.paged_attention_forward(
                query, cache, cache, on_device(torch.zeros(1, 1, dtype=torch.int32)), [1], backend=BACKEND
            )
    query, cache = on_device(torch.zeros(1, 2, 32)), on_device(torch.zeros(2, 4, 1, 32).half())
    with pytest.raises(api.BackendError, match="float16"):
        api.paged_attention_forward(
            query, cache, cache, on_device(torch.zeros(1, 1, dtype=torch.int32)), [1], backend=BACKEND
        )
    vast = cache.float()[:1, :1].expand(2**19, 2**12, 1, 32)  # one token that takes the place of 2**31
    with pytest.raises(api.BackendError, match=f"31 bits, the pool has {2**31}"):
        api.plan_attention(on_device(torch.zeros(1, 1, dtype=torch.int32)), [1], None, vast, backend=BACKEND)


@pytest.mark.parametrize(
    ("num_blocks", "max_context_len", "expected"),
    [
        (512, 4096, (3, 1366)),  # batch 64: 1,536 thread blocks, 3.9 waves of 396
        (8, 1024, (16, 64)),  # batch 1: a thread block for almost every multiprocessor, 16 keys for each warp
        (8, 64, (1, 64)),
        (0, 0, (1, 64)),
    ],
)
def test_number_of_splits(num_blocks, max_context_len, expected):
    """Splits follow from shapes only, so a CUDA graph can be captured; too few leave a card idle."""
    assert paged_attention.choose_splits(num_blocks, max_context_len, 132) == expected


def test_rung_6_has_few_splits():
    """A thread block for each multiprocessor: too many merge more than they read, too few leave a card idle."""
    cache = on_device(torch.zeros(1, 16, 8, 128, dtype=torch.float16))
    processors = paged_attention._num_multiprocessors(cache.device)

    def splits(*context_lens):
        return paged_attention._few_splits(np.array(context_lens, dtype=np.int32), cache)

    assert splits(4096) == (processors // 8, -(-4096 // (processors // 8)))
    assert splits(*[4096] * 8) == (2, 2048)
    assert splits(*[100, 8092] * 4) == (4, 2048)  # longer than the average: no block works on when the others are done
    assert splits(50) == splits() == (1, 64)


def test_contexts_that_fill_the_card_are_split_where_they_are_long():
    """Parts of a context that need not be split cost a tenth of the time; a long one alone at the end costs more, but
    the less, the more others there are. And both ways to plan a decode say the same."""
    cache, operations = on_device(torch.zeros(1, 16, 8, 128, dtype=torch.float16)), ops.operations(BACKEND)
    for num_seqs, longest, splits, tokens in (
        (32, 2000, 1, 2048),
        (32, 8000, 4, 2048),
        (64, 50_000, 8, 2048),
        (256, 4000, 1, 8192),
    ):
        tables, lens = on_device(torch.zeros(num_seqs, longest // 16 + 1).int()), [100] * num_seqs
        lens[3] = longest
        for plan in (
            operations.decode_plan(tables, on_device(torch.tensor(lens).int()), longest, cache),
            operations.plan_attention(tables, lens, None, cache),
        ):
            assert (plan.num_splits, plan.split_tokens) == plan.few_splits == (splits, tokens)


def test_what_rung_6_does_not_take_goes_to_rung_5():
    """A kernel that gets what it cannot compute, or is passed by for what it can."""
    taken = [(dtype, dim) for dtype in DTYPES for dim in (8, 128, 136) if _takes(dtype, dim)]
    assert taken == [(dtype, dim) for dtype in DTYPES[1:] for dim in (8, 128)]


def _takes(dtype, head_dim):
    return paged_attention.tensor_cores_take(torch.zeros(1, 1, 8, head_dim, dtype=dtype))


@pytest.mark.parametrize("num_kv_heads", [1, 64])
def test_splits_are_chosen_for_decodes_and_heads_of_keys(num_kv_heads):
    """Would catch thread blocks that are counted by the size of a page, or for prefills, too: an idle card."""
    cache, tables = on_device(torch.zeros(1, 4, num_kv_heads, 32)), on_device(torch.zeros(3, 1024, dtype=torch.int32))
    operations, lens = ops.operations(BACKEND), [4096, 4000, 4096]
    processors = paged_attention._num_multiprocessors(cache.device)
    for num_decodes, query_lens in ((3, [1, 1, 1]), (1, [1, 2, 2])):
        plan = operations.plan_attention(tables, lens, query_lens, cache)
        expected = paged_attention.choose_splits(num_decodes * num_kv_heads, 4096, processors)
        assert (plan.num_splits, plan.split_tokens) == expected
    plan = operations.decode_plan(tables, torch.tensor(lens), 4096, cache)
    assert plan.num_splits == paged_attention.choose_splits(3 * num_kv_heads, 4096, processors)[0]


@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_any_shape(data):
    """Shapes drawn from the whole contract, small contexts: what nobody thought of."""
    draw = data.draw
    num_kv_heads = draw(st.integers(1, 3))
    group = draw(st.sampled_from([1, 2, 3, 4, 5, 7, 8]))
    query_lens = draw(st.lists(st.integers(0, 5), min_size=1, max_size=3).filter(any))
    context_lens = [n + draw(st.integers(0, 40)) for n in query_lens]
    options = {
        "block_size": draw(st.integers(1, 256)),
        "num_heads": num_kv_heads * group,
        "num_kv_heads": num_kv_heads,
        "head_dim": 8 * draw(st.integers(4, 32)),
        "dtype": draw(st.sampled_from(DTYPES)),
    }
    batch = Batch(context_lens, query_lens=query_lens, **options)
    batch.check(batch.prefill(rung=4 if options["dtype"] != torch.float32 else None))
    batch = Batch(context_lens, **options)
    takes = batch.query.dtype != torch.float32 and options["head_dim"] <= 128
    for rung in (*RUNGS, TENSOR_CORES) if takes else RUNGS:
        batch.check(batch.decode(rung))
