"""The memory kernels in the emulator's check mode against torch: same bytes, no finding, odd sizes and all dtypes.

On a machine with a GPU the same tests run there (`backend="auto"`); the check mode is the emulator's.
"""

import math
from functools import cache

import pytest
import torch

import yaie.cuda
from yaie.cuda.machine import for_hopper
from yaie.kernels.ops import CSRC

SOURCES = sorted(CSRC.glob("*/*.cu"))
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.int8)


@cache
def module(name):
    return yaie.cuda.load(CSRC / name)


def on_device(tensor):
    return tensor.cuda() if torch.cuda.is_available() else tensor


def random(*shape, dtype=torch.float32):
    if dtype.is_floating_point:
        return on_device(torch.randn(*shape).to(dtype))
    return on_device(torch.randint(-100, 100, shape, dtype=dtype))


def integers(values):
    return on_device(torch.tensor(values, dtype=torch.int64))


@pytest.mark.parametrize("n", [0, 1, 31, 32, 33, 255, 256, 257, 1000])
@pytest.mark.parametrize("name", ["vector_add", "vector_add_grid_stride"])
def test_vector_add(name, n):
    """A missing guard writes behind the end, a wrong stride leaves elements out."""
    a, b, c = random(n), random(n), on_device(torch.full((n,), math.nan))
    grids = [()] if name == "vector_add" else [(1,), (3,)]
    for grid in grids:
        c.fill_(math.nan)
        getattr(module("warmup/vector_add.cu"), name)(a, b, c, n, *grid)
        assert torch.equal(c, a + b)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("block_size", "heads", "head_dim"), [(16, 2, 64), (1, 1, 80), (17, 1, 33), (33, 3, 128), (1, 1, 1), (15, 7, 4)]
)
def test_copy_blocks(dtype, block_size, heads, head_dim):
    """The guide's kernel copied 256 of 2,048 elements and wiped all other blocks."""
    num_layers, num_blocks = 3, 7
    shape = (num_layers, num_blocks, block_size, heads, head_dim)
    block_bytes = block_size * heads * head_dim * dtype.itemsize
    pairs = [(0, 3), (5, 1), (6, 2)]
    for name in ("copy_blocks_1_elements", "copy_blocks_2_vectors"):
        if name == "copy_blocks_1_elements" and block_bytes % 4:
            continue
        key, value = random(*shape, dtype=dtype), random(*shape, dtype=dtype)
        wanted_key, wanted_value = key.clone(), value.clone()
        for source, target in pairs:
            wanted_key[:, target], wanted_value[:, target] = key[:, source], value[:, source]
        copy = getattr(module("memory/copy_blocks.cu"), name)
        copy(key, value, integers(pairs), len(pairs), num_layers, num_blocks, block_bytes)
        assert torch.equal(key, wanted_key)
        assert torch.equal(value, wanted_value)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(
    ("num_tokens", "heads", "head_dim"), [(1, 1, 64), (5, 2, 80), (17, 7, 16), (3, 1, 5), (0, 1, 8)]
)
def test_reshape_and_cache(dtype, num_tokens, heads, head_dim):
    """A token written to another token's slot, or a padded token written at all, is a wrong answer later."""
    num_slots = 48
    key, value = (random(num_tokens, heads, head_dim, dtype=dtype), random(num_tokens, heads, head_dim, dtype=dtype))
    key_cache, value_cache = (
        random(num_slots, heads, head_dim, dtype=dtype),
        random(num_slots, heads, head_dim, dtype=dtype),
    )
    slots = torch.randperm(num_slots)[:num_tokens].tolist()
    if num_tokens > 2:
        slots[1] = -1
    wanted_key, wanted_value = key_cache.clone(), value_cache.clone()
    for token, slot in enumerate(slots):
        if slot >= 0:
            wanted_key[slot], wanted_value[slot] = key[token], value[token]
    write = module("memory/reshape_and_cache.cu").reshape_and_cache
    write(key, value, key_cache, value_cache, integers(slots), num_tokens, heads * head_dim * dtype.itemsize)
    assert torch.equal(key_cache, wanted_key)
    assert torch.equal(value_cache, wanted_value)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("context_len", "block_size"), [(1, 16), (15, 16), (16, 16), (17, 16), (33, 1), (33, 5)])
def test_gather_pages(dtype, context_len, block_size):
    """Reading entries of the block table beyond the context, or a page in the wrong order, shows here."""
    heads, head_dim, num_blocks = 2, 20, 40
    pages = random(num_blocks, block_size, heads, head_dim, dtype=dtype)
    needed = -(-context_len // block_size)
    table = torch.randperm(num_blocks)[:needed].tolist()
    out = torch.zeros_like(pages).view(-1, heads, head_dim)[:context_len].contiguous()
    token_bytes = heads * head_dim * dtype.itemsize
    module("memory/gather_pages.cu").gather_pages(
        pages, integers([*table, 10**9]), out, context_len, block_size, token_bytes
    )
    assert torch.equal(out, pages[table].view(-1, heads, head_dim)[:context_len])


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (1, 33), (32, 32), (33, 31), (64, 17), (70, 45)])
@pytest.mark.parametrize("name", ["transpose_1_naive", "transpose_2_tiled", "transpose_3_padded"])
def test_transpose(name, rows, cols):
    """Tiles at the right and lower edge are where transposes go wrong."""
    x, y = random(rows, cols), on_device(torch.full((cols, rows), math.nan))
    getattr(module("memory/transpose.cu"), name)(x, y, rows, cols)
    assert torch.equal(y, x.T)


@pytest.mark.parametrize("n", [0, 1, 31, 33, 255, 256, 257, 3000])
@pytest.mark.parametrize("name", ["reduce_1_atomics", "reduce_2_shared", "reduce_3_shuffle"])
def test_reduce(name, n):
    """Against float64. n values are off by at most n roundings of a sum whose terms add up to their absolute sum."""
    x, total = random(n), on_device(torch.full((1,), math.nan))
    getattr(module("memory/reduce.cu"), name)(x, total, n)
    tolerance = n * 2**-24 * x.abs().double().sum().item()
    assert abs(total.double().item() - x.double().sum().item()) <= tolerance


def sectors_per_request(name, operation):
    """Sectors per request of global memory, when a 64 x 64 matrix is transposed."""
    x, y = random(64, 64), random(64, 64)
    getattr(module("memory/transpose.cu"), name)(x, y, 64, 64)
    lines = module("memory/transpose.cu").profile().lines
    return {line.sectors / line.requests for line in lines if (line.space, line.operation) == ("global", operation)}


@pytest.mark.skipif(torch.cuda.is_available(), reason="the emulator counts; on a GPU a profiler does")
def test_rungs_of_the_transpose_gain_what_their_header_says():
    """A rung that does not do what its comment claims teaches something wrong."""
    assert sectors_per_request("transpose_1_naive", "store") == {32.0}
    assert sectors_per_request("transpose_2_tiled", "store") == {4.0}
    assert sectors_per_request("transpose_3_padded", "store") == {4.0}
    ways = {}
    for name in ("transpose_2_tiled", "transpose_3_padded"):
        sectors_per_request(name, "store")
        lines = module("memory/transpose.cu").profile().lines
        ways[name] = max(line.most_ways for line in lines if line.space == "shared")
    assert ways == {"transpose_2_tiled": 32, "transpose_3_padded": 1}


FOR_HOPPER = {path for path in SOURCES if for_hopper(path)}
CARDS = [(path, "sm_90a" if path in FOR_HOPPER else "sm_90") for path in SOURCES]
# The oldest cards may lack an instruction that PTX here asks for. Newer ones have them all.
WITH_PTX = [path for path in SOURCES if path.parent.name in ("flash_attention", "paged_attention", "primitives")]
CARDS += [(path, "sm_80") for path in WITH_PTX if path not in FOR_HOPPER]


@pytest.mark.parametrize(("path", "arch"), CARDS, ids=lambda value: getattr(value, "stem", value))
@pytest.mark.skipif(yaie.cuda.find_nvcc() is None, reason="no nvcc on this machine")
def test_compiles_with_nvcc_and_spills_nothing(path, arch):
    """What the emulator accepts must be CUDA C++ for every card; a spill to local memory would cost bandwidth.

    float32 and bfloat16 for one card, float16 for the others: the compiler takes long.
    """
    flags = ["-DYAIE_DTYPES=5" if arch == "sm_90" else "-DYAIE_DTYPES=2"]
    for kernel in yaie.cuda.compile_cubin(path, arch, flags).kernels:
        assert kernel.spill_stores == kernel.spill_loads == 0, kernel
