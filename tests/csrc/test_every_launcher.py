"""Every launcher of csrc/, none left out, at small sizes, on a card with every element type that it takes: what it
computes is compared with torch. So little runs that a card's own tools can look at all of it:

    compute-sanitizer --tool memcheck python -m pytest -p no:cacheprovider tests/csrc/test_every_launcher.py
    compute-sanitizer --tool racecheck python -m pytest -p no:cacheprovider tests/csrc/test_every_launcher.py
"""

from contextlib import suppress

import numpy as np
import pytest
import torch

import yaie.cuda
from yaie.bench import kernels
from yaie.bench.kernel_cases import Setting, families, family
from yaie.cuda.launchers import find_launchers
from yaie.cuda.module import Module
from yaie.kernels import api, ops, paged
from yaie.kernels.ops import CSRC, launching
from yaie.kernels.sampling import Settings

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPES = [torch.float16, torch.float32]
if DEVICE == "cuda":
    DTYPES.append(torch.bfloat16)  # for the emulator it would be compiled for this alone
# By folder; attention over pages also launches what stands in that of flash attention.
TOGETHER = ["flash_attention", "paged_attention"]
FAMILIES = [TOGETHER, *([path.name] for path in sorted(CSRC.iterdir()) if path.is_dir() and path.name not in TOGETHER)]
# Launchers that a backend does not ask for other types.
ONLY_FLOAT32 = {"paged_prefill"}
ONLY_16_BITS = {f"flash_attention_{each}" for each in ("4_tensor_cores", "4_paged", "5_wgmma", "6_overlap", "6_paged")}
ONLY_16_BITS |= {"paged_decode_6_tensor_cores", "paged_decode_shared", "sample_3_list_16_bit"}


class Small(Setting):
    """Small sizes, on a card, too."""

    real = False


SMALL = Small(DEVICE)


@pytest.fixture
def called(monkeypatch):
    """The names of the launchers that have been called."""
    seen, function = set(), Module._function

    def recorded(self, launcher):
        call = function(self, launcher)

        def call_recorded(*args, **kwargs):
            seen.add(launcher.name)
            return call(*args, **kwargs)

        return call_recorded

    monkeypatch.setattr(Module, "_function", recorded)
    monkeypatch.setattr(ops, "shared", {})
    launching.load.cache_clear()  # modules that were loaded before do not record, and those of this test shall not stay
    yield seen
    launching.load.cache_clear()


def odd_cases(name):
    """Beside those of the benchmark some whose sizes are multiples of nothing."""
    cases = family(name)
    if name == "flash_attention":
        return [cases.case(SMALL, 3, 77, 3, head_dim, True) for head_dim in (40, 128)]
    if name == "paged_attention":
        shapes = ((6, 2), 40), ((5, 1), 128), ((6, 2), 200)
        decodes = [cases.decode(SMALL, 3, 7 * 21, 7, *shape) for shape in shapes]
        return [*decodes, *(cases.prefill(SMALL, 3, 77, 80, *shape) for shape in shapes)]
    if name == "model_ops":
        return [cases.rms_norm(SMALL, 3, 250), cases.silu_mul(SMALL, 3, 250), cases.embedding(SMALL, 3, 250)]
    return []


def more(name, dtype):
    """What the benchmark has no case of."""
    if name == "primitives":
        x, a, b = (torch.randn(shape, device=DEVICE) for shape in ((3, 257), 129, 129))
        y, c, products = torch.empty_like(x), torch.empty(258, device=DEVICE), torch.empty(16, 8, device=DEVICE)
        halves = [torch.randn(rows, 48, device=DEVICE).half() for rows in (16, 8)]
        load = {each.stem: yaie.cuda.load(each) for each in (CSRC / name).glob("*.cu")}
        load["softmax_rows"].softmax_rows(x, y, *x.shape)
        load["interleave"].interleave(a, b, c, 129)
        load["tile_product"].tile_product(*halves, products, 48)
        torch.testing.assert_close(y, x.softmax(dim=1))
        assert torch.equal(c, torch.stack([a, b], 1).flatten())
        torch.testing.assert_close(products, halves[0].float() @ halves[1].float().T)
    if name == "sampling":
        rows = (torch.randn(4, 1501, device=DEVICE) * 4).to(dtype)
        wishes = [0.0, 1.0, 4.0, 1.0], [1.0, 0.9, 0.9, 1.0], [-1, -1, -1, 50], [0.0, 0.0, 0.0, 0.1]
        given = rows, Settings(*wishes), None, list(range(4)), list(range(4))
        assert torch.equal(*(ops.operations(each).sample(*given).cpu() for each in (BACKEND, "torch")))
    if name == "paged_attention":
        prefill_and_decode(dtype)
        if dtype.itemsize == 2:
            shared_pages(dtype)


BACKEND = SMALL.backend


def prefill_and_decode(dtype):
    """As the engine asks for it: the kernel for what tensor cores do not take is among these."""
    query, caches = (
        torch.randn(30, 4, 40, device=DEVICE).to(dtype),
        torch.randn(2, 9, 7, 2, 40, device=DEVICE).to(dtype),
    )
    tables = torch.randperm(9, device=DEVICE).int().view(3, 3)
    arguments = query, *caches, tables, [20, 9, 21]
    out, wanted = (
        api.paged_attention_forward(*arguments, query_lens=[8, 1, 21], backend=each) for each in (BACKEND, "torch")
    )
    torch.testing.assert_close(out, wanted, rtol=0.02, atol=0.02)


def shared_pages(dtype):
    """Three sequences that have two pages in common."""
    query, caches = (torch.randn(shape, device=DEVICE).to(dtype) for shape in ((3, 6, 64), (2, 9, 7, 2, 64)))
    tables, lens = np.array([[0, 1, 2], [0, 1, 3], [0, 1, 4]], dtype=np.int32), np.array([15, 18, 21], dtype=np.int32)
    shared, on_device = paged.shared_pages(tables, (lens - 1) // 7, 1), torch.from_numpy(tables).to(DEVICE)
    assert shared
    results = []
    for backend, groups in ((BACKEND, shared), ("torch", ())):
        operations = ops.operations(backend)
        plan = operations.plan_attention(on_device, lens, None, caches[0], groups)
        results.append(operations.paged_attention_forward(query, *caches, None, None, None, None, plan))
    torch.testing.assert_close(*results, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("names", FAMILIES, ids="-".join)
def test_every_launcher(names, dtype, called, monkeypatch):
    """Would catch a launcher or an element type that no other test runs, and shows each to compute-sanitizer."""
    for name in names:
        if name in families():
            monkeypatch.setattr(family(name), "DTYPE", dtype, raising=False)
            for case in (*family(name).cases(SMALL), *odd_cases(name)):
                torch.manual_seed(0)  # as the benchmark does: of other numbers one in ten falls on the edge of a top-p
                work = case.make()
                wanted = work.wanted()
                for call in work.ours.values():
                    with suppress(ops.BackendError):  # not a rung for these sizes
                        kernels.check(call, work, work.of_ours, wanted, case.tolerance)
        more(name, dtype)
    files = [path for name in names for path in (CSRC / name).glob("*.cu")]
    launchers = {each.name for path in files for each in find_launchers(path.read_text(), path)}
    assert launchers - called == launchers & (ONLY_16_BITS if dtype == torch.float32 else ONLY_FLOAT32)
    print(f"{names}, {dtype}: {len(launchers & called)} of {len(launchers)} launchers")
