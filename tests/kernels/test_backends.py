"""The backends of `yaie.kernels.api` on this machine: they agree, and they say so when they cannot do something.

Without a GPU these run torch and the emulator; on a GPU, torch and the kernels there.
"""

from types import SimpleNamespace

import pytest
import torch

from yaie.kernels import api, ops

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
KERNELS = "cuda" if torch.cuda.is_available() else "emulator"
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@pytest.fixture
def rand():
    generator = torch.Generator().manual_seed(0)
    return lambda *shape, dtype=torch.float32: torch.randn(shape, generator=generator).to(DEVICE, dtype)


def integers(values, dtype=torch.int64):
    return torch.tensor(values, dtype=dtype, device=DEVICE)


@pytest.fixture(params=["torch", KERNELS])
def backend(request):
    return request.param


# --- the memory operations, against loops over tokens and blocks --------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("index", [torch.int32, torch.int64], ids=str)
def test_copy_blocks(rand, backend, dtype, index):
    """Would catch a copy of one layer only, of a part of a block, or of the wrong way round."""
    for shape in ((3, 6, 4, 2, 8), (6, 5, 1, 3)):
        caches = rand(2, *shape, dtype=dtype)
        expected = caches.clone()
        for source, target in ((0, 3), (4, 1)):
            expected[..., target, :, :, :] = caches[..., source, :, :, :]
        api.copy_blocks(*caches, integers([[0, 3], [4, 1]], index), backend=backend)
        assert torch.equal(caches, expected)
        api.copy_blocks(*caches, integers([], index).view(0, 2), backend=backend)
        assert torch.equal(caches, expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_reshape_and_cache(rand, backend, dtype):
    """Would catch a token in another's slot, padding that is stored, a view read as if it were contiguous, or keys
    stored in their own dtype.
    """
    caches = rand(2, 5, 4, 2, 8, dtype=dtype)
    projected = rand(6, 7, 8)
    key, value = projected[:, 3:5], projected[:, 5:]
    slots = [7, -1, 0, 19, -1, 8]
    expected = caches.clone()
    for token, slot in enumerate(slots):
        if slot >= 0:
            expected[0].flatten(0, 1)[slot] = key[token].to(dtype)
            expected[1].flatten(0, 1)[slot] = value[token].to(dtype)
    api.reshape_and_cache(key, value, *caches, integers(slots, torch.int32), backend=backend)
    assert torch.equal(caches, expected)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("context_len", [0, 1, 8, 11])
def test_gather_pages(rand, backend, dtype, context_len):
    """Would catch pages in the order of the pool instead of the table's, and reads beyond the context."""
    cache = rand(5, 4, 2, 8, dtype=dtype)
    table = integers([3, 0, 4, 10**6], torch.int32)
    expected = cache[[3, 0, 4]].flatten(0, 1)[:context_len]
    assert torch.equal(api.gather_pages(cache, table, context_len, backend=backend), expected)


@pytest.mark.skipif(DEVICE == "cpu", reason="needs 5 GB of GPU memory; in the emulator it would take minutes")
def test_offsets_beyond_31_bits():
    """Would catch an offset that is computed in 32 bits: large pools are larger than that."""
    caches = torch.zeros(2, 2400, 1024, 1, 1024, dtype=torch.int8, device=DEVICE)  # a block has 1 MiB
    caches[:, 2399] = 7
    api.copy_blocks(*caches, integers([[2399, 2200]]), backend=KERNELS)
    assert caches[:, 2200].eq(7).all()
    assert not caches[:, :2200].any()
    key = torch.full((1, 1, 1024), 5, dtype=torch.int8, device=DEVICE)
    api.reshape_and_cache(key, key, *caches, integers([2300 * 1024 + 9]), backend=KERNELS)
    assert caches[:, 2300, 9].eq(5).all()
    rows = api.gather_pages(caches[0], integers([2300]), 10, backend=KERNELS)
    assert rows[9].eq(5).all()
    assert not rows[:9].any()


# --- what a backend cannot do -------------------------------------------------------------------------------


def test_a_backend_is_available_where_it_can_run():
    """Would catch a list that names a GPU's kernels on a laptop, or the emulator where nothing compiles."""
    assert api.available_backends("copy_blocks") == ["torch"] + (["cuda"] if DEVICE == "cuda" else []) + ["emulator"]


def test_no_backend_takes_the_place_of_the_one_that_was_named(rand, monkeypatch):
    """Would catch a silent fallback: numbers that look right and were computed by something else."""
    caches, pairs = rand(2, 3, 4, 2, 8), integers([[0, 1]])
    with monkeypatch.context() as patch:
        for module in (ops, ops.launching):
            patch.setattr(module, "obstacle", lambda backend: "it has been unplugged" if backend != "torch" else None)
        with pytest.raises(api.BackendError, match=f"'{KERNELS}' cannot run here: it has been unplugged"):
            api.copy_blocks(*caches, pairs, backend=KERNELS)
        with pytest.raises(api.BackendError, match=f"'{KERNELS}' cannot run here: it has been unplugged"):
            ops.KernelOperations(KERNELS)
        assert api.available_backends("copy_blocks") == ["torch"]
        patch.setattr(ops, "obstacle", lambda backend: None)
        other, here = ("emulator", "a GPU") if DEVICE == "cuda" else ("cuda", "the CPU")
        with pytest.raises(api.BackendError, match=f"'{other}' takes tensors on .*, got one on {here}"):
            api.copy_blocks(*caches, pairs, backend=other)


@pytest.mark.skipif(DEVICE == "cuda", reason="this machine has a GPU")
def test_without_a_gpu_the_backend_cuda_says_so(rand):
    """Would catch an error from deep inside the driver, or results from the CPU."""
    with pytest.raises(api.BackendError, match="'cuda' cannot run here: torch finds no GPU"):
        api.copy_blocks(*rand(2, 3, 4, 2, 8), integers([[0, 1]]), backend="cuda")


def resolved(backend, on_gpu, in_the_way=()):
    """The answer, and which backends' obstacles were asked about."""
    asked = []

    def obstacle(name):
        asked.append(name)
        return "broken" if name in in_the_way else None

    return ops.resolve(backend, on_gpu, obstacle), asked


def test_what_auto_means():
    """Would catch `auto` that takes the emulator, that looks for a GPU's kernels on a CPU, or that gives up where torch
    could compute."""
    assert resolved("auto", False) == ("torch", [])
    assert resolved("auto", True) == ("cuda", ["cuda"])
    assert resolved("auto", True, ["cuda"]) == ("torch", ["cuda"])
    assert resolved("auto", False, ["cuda", "emulator"])[0] == "torch"


def test_a_named_backend_is_itself_or_nothing():
    """Would catch a named backend that is replaced by another, and a refusal that does not say why."""
    for backend, on_gpu in (("torch", False), ("torch", True), ("cuda", True), ("emulator", False)):
        assert resolved(backend, on_gpu)[0] == backend
        if backend != "torch":
            with pytest.raises(ops.BackendError, match=f"'{backend}' cannot run here: broken"):
                resolved(backend, on_gpu, [backend])
            with pytest.raises(ops.BackendError, match=f"'{backend}' takes tensors on"):
                resolved(backend, not on_gpu)
    for name in ("abacus", "CUDA", ""):
        with pytest.raises(ValueError, match="backend must be one of"):
            resolved(name, False)
        with pytest.raises(ValueError, match="backend must be one of"):
            ops.operations(name)


def test_auto_falls_back_on_what_a_kernel_refuses(monkeypatch):
    """Would catch `auto` that fails for a dtype that torch can do, or that hides other errors of a kernel."""

    class OnGpu:  # stands for a tensor there
        is_cuda = True

    def call(error, backend="auto"):
        def kernel(*_):
            raise error

        monkeypatch.setattr(ops, "obstacle", lambda name: None)
        monkeypatch.setitem(ops.shared, "cuda", SimpleNamespace(silu_mul=kernel))
        monkeypatch.setitem(ops.shared, "torch", SimpleNamespace(silu_mul=lambda x: "by torch"))
        return ops.launching.run(backend, "silu_mul", OnGpu, OnGpu)

    assert call(ops.BackendError("no float64")) == "by torch"
    with pytest.raises(ops.BackendError, match="no float64"):
        call(ops.BackendError("no float64"), "cuda")
    with pytest.raises(RuntimeError, match="launch failed"):
        call(RuntimeError("launch failed"))


def test_prepare_compiles_what_a_step_launches():
    """Would catch a list that lacks a file: it would be compiled in the middle of somebody's request."""
    from yaie import LLM, SamplingParams  # the engine is a room above; only its launches are of interest here

    operations = ops.KernelOperations(KERNELS, time_limit=21.0)  # so that nothing is found in the cache of modules
    operations.prepare()
    misses = ops.launching.load.cache_info().misses
    llm = LLM("tiny", backend=operations, num_blocks=8)
    llm.generate([[5, 6, 7] * 14, [8, 9]], SamplingParams(temperature=0, max_tokens=2))
    assert llm.last_error is None
    assert ops.launching.load.cache_info().misses == misses
