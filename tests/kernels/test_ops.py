"""`yaie.kernels.ops`: how classes of operations are put together, what they are set to, and how deep a launch lies."""

import inspect
import math
import random
import sys
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import yaie
from yaie.kernels import ops, rope
from yaie.kernels.kv_cache import KVCacheManager
from yaie.kernels.ops import KernelOperations, TorchOperations
from yaie.kernels.ops.launching import Family, Launching
from yaie.models.batch import Batch
from yaie.models.config import ModelConfig
from yaie.models.llama import Llama

ON_GPU = torch.cuda.is_available()
DEVICE, KERNELS = ("cuda", "cuda") if ON_GPU else ("cpu", "emulator")
PACKAGE = Path(yaie.__file__).parent


# --- a family is one file -----------------------------------------------------------------------------------

TWICE = """
__global__ void twice_kernel(const float* x, float* y, int n) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = 2.0f * x[i];
}
extern "C" int twice(const float* x, float* y, int n, cudaStream_t stream) {
    twice_kernel<<<(n + 255) / 256, 256, 0, stream>>>(x, y, n);
    return cudaGetLastError();
}
"""


class TwiceByTorch(Family):
    RUNGS = {"twice": {1: "a sum", 2: "a product"}}

    def twice(self, x):
        return x + x if self.rungs["twice"] == 1 else 2 * x


class TwiceByKernels(Launching):
    def twice(self, x):
        out = torch.empty_like(x)
        self.launch["warmup/vector_add.cu", "twice"](x, out, len(x))
        return out


def test_an_operation_is_added_by_its_family():
    """Catches a table, a list or a registration elsewhere that a new operation would have to be put into."""

    class WithTorch(TwiceByTorch, TorchOperations):
        pass

    class WithKernels(TwiceByKernels, KernelOperations):
        pass

    x = torch.arange(5.0, device=DEVICE)
    for rung in (1, 2):
        assert WithTorch(rungs={"twice": rung, "attention": 1}).twice(x).tolist() == [0, 2, 4, 6, 8]
    operations = WithKernels(KERNELS, sources={"warmup/vector_add.cu": TWICE})
    assert operations.twice(x).tolist() == [0, 2, 4, 6, 8]
    ones = torch.ones(1, 2, device=DEVICE)
    torch.testing.assert_close(operations.silu_mul(ones), WithTorch().silu_mul(ones))


@pytest.mark.parametrize("name", [name for name in dir(TorchOperations) if not name.startswith("_")])
def test_every_backend_has_every_operation(name):
    """Catches an operation that one backend lacks, or whose arguments go by other names or places there."""
    operation = getattr(TorchOperations, name)
    if not callable(operation):
        return
    parameters = list(inspect.signature(operation).parameters)
    theirs = list(inspect.signature(getattr(KernelOperations, name)).parameters.values())
    assert [each.name for each in theirs[: len(parameters)]] == parameters
    assert all(each.default is not each.empty for each in theirs[len(parameters) :])


# --- what operations are set to -----------------------------------------------------------------------------


def test_a_wrong_setting_is_named():
    """Catches a misspelt rung, file or backend that is silently ignored."""
    with pytest.raises(ValueError, match=r"no rung 9 of 'paged_decode'; there are .*paged_decode \[1, 2, 3, 4, 5, 6\]"):
        KernelOperations(KERNELS, rungs={"paged_decode": 9})
    with pytest.raises(ValueError, match="no rung 1 of 'paged_decod'"):
        KernelOperations(KERNELS, rungs={"paged_decod": 1})
    with pytest.raises(ValueError, match="no rung 3 of 'attention'"):
        TorchOperations(rungs={"attention": 3})
    with pytest.raises(ValueError, match=r"path under csrc/.*memory/copy_block.cu"):
        KernelOperations(KERNELS, sources={"memory/copy_block.cu": TWICE})
    with pytest.raises(ValueError, match="kernels run in 'cuda' or 'emulator', got 'torch'"):
        KernelOperations("torch")


def test_the_shared_operations_are_made_once():
    """Catches operations that are compiled anew for every call or engine."""
    assert ops.operations(KERNELS) is ops.operations(KERNELS) is ops.shared[KERNELS]
    assert ops.operations("torch").name == "torch"
    assert ops.operations(KERNELS).name == KERNELS


def test_another_text_is_compiled_for_its_operations_alone():
    """Catches a text that reaches the operations of everybody, or none."""
    changed = (ops.CSRC / "model_ops/silu_mul.cu").read_text() + "\n// another text"
    operations = KernelOperations(KERNELS, sources={"model_ops/silu_mul.cu": changed})
    assert operations.module("model_ops/silu_mul.cu") is not ops.operations(KERNELS).module("model_ops/silu_mul.cu")
    assert operations.module("model_ops/rope.cu") is ops.operations(KERNELS).module("model_ops/rope.cu")


def test_torch_rungs_agree():
    """Catches a fast way that computes something else than the plain one."""
    plain, fast = TorchOperations(rungs={"attention": 1, "rms_norm": 1, "rope": 1}), TorchOperations()
    assert fast.rungs == {"attention": 2, "rms_norm": 2, "rope": 2, "shared_pages": 2}
    query, (key, value) = torch.randn(2, 5, 4, 16), torch.randn(2, 2, 9, 2, 16)
    torch.testing.assert_close(fast.attention_forward(query, key, value), plain.attention_forward(query, key, value))
    cos, sin = rope.rope_cos_sin(torch.tensor([0, 1, 700]), rope.rope_inv_freq(16))
    for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.float64):
        heads = torch.randn(3, 6, 16).to(dtype)
        both = [heads.clone() for _ in range(2)]
        for operations, x in zip((plain, fast), both, strict=True):
            operations.rope(x[:, :4], cos, sin)
            assert torch.equal(x[:, 4:], heads[:, 4:])
        torch.testing.assert_close(*both)
        x, weight = torch.randn(3, 4, 96).to(dtype), torch.randn(96).to(dtype)
        kept, residuals = x.clone(), [torch.randn(3, 4, 96).to(dtype)] * 2
        residuals = [residual.clone() for residual in residuals]
        both = [o.rms_norm(x, weight, 1e-5, r) for o, r in zip((plain, fast), residuals, strict=True)]
        torch.testing.assert_close(*both)
        assert torch.equal(*residuals)
        assert torch.equal(x, kept)
        torch.testing.assert_close(*(o.rms_norm(x, weight, 1e-5, None) for o in (plain, fast)))
        assert torch.equal(x, kept)


@pytest.mark.parametrize("size", [1, 7, 96, 4096])
def test_the_norms_of_both_rungs_are_alike_for_numbers_of_any_size(size):
    """Catches a sum of squares that overflows, vanishes or loses digits where the plain one does not."""
    plain, fast = TorchOperations(rungs={"rms_norm": 1}), TorchOperations()
    x, weight = torch.randn(2, size), torch.randn(size)
    for factor in (0, 1e-30, 1e-19, 1, 1e17, 1e19, 1e30, math.inf, math.nan):
        for eps in (1e-30, 1e-6, 1):
            both = [each.rms_norm(x * factor, weight, eps, None) for each in (plain, fast)]
            torch.testing.assert_close(*both, equal_nan=True)


@pytest.mark.parametrize("first", [torch.inference_mode, FakeTensorMode, lambda: torch.device("meta")])
def test_a_norm_does_not_depend_on_where_it_was_first_used(first):
    """Catches a number kept from an inference (of no use for gradients), or from a tracer (of none to anybody)."""
    plain, fast, eps = TorchOperations(rungs={"rms_norm": 1}), TorchOperations(), random.random()
    x, weight, gradients = torch.randn(3, 8), torch.randn(8), []
    with first():
        fast.rms_norm(torch.ones(3, 8), torch.ones(8), eps, None)
    for operations in (plain, fast):
        numbers = [tensor.clone().requires_grad_() for tensor in (x, weight)]
        operations.rms_norm(*numbers, eps, None).sin().sum().backward()
        gradients.append([tensor.grad for tensor in numbers])
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("lens", [[37], [9, 3, 17], [40, 40, 40]])
def test_torch_rungs_agree_over_pages(lens):
    """Catches the way of one sequence, of several, or of a shared prefix that differs from the plain one."""
    key_cache, value_cache = torch.randn(2, 12, 4, 2, 8)
    tables = torch.arange(12).repeat(len(lens), 1)
    for query_lens in ([1] * len(lens), [min(3, n) for n in lens]):
        query = torch.randn(sum(query_lens), 4, 8)
        outs = [
            TorchOperations(rungs={"attention": rung}).paged_attention_forward(
                query, key_cache, value_cache, tables, lens, query_lens
            )
            for rung in (1, 2)
        ]
        torch.testing.assert_close(*outs, rtol=1e-5, atol=1e-5)


# --- how deep a launch lies ---------------------------------------------------------------------------------

CONFIG = ModelConfig(
    vocab_size=50,
    hidden_size=32,
    intermediate_size=48,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=8,
    max_position_embeddings=64,
)


def launches(step):
    """For each launcher of csrc/ that `step` called: the Python frames from the decoder's own to the launcher's."""
    decoder, found = str(PACKAGE / "models" / "llama.py"), []
    cuda = str(PACKAGE / "cuda")

    def watch(frame, event, _):
        if event != "call" or not frame.f_code.co_filename.startswith(cuda) or frame.f_code.co_name != "call":
            return  # launchers are closures of that name
        if frame.f_back.f_code.co_filename.startswith(cuda):
            return  # inside of a launcher
        depth, caller = 1, frame.f_back
        while caller is not None and caller.f_code.co_filename != decoder:
            depth, caller = depth + 1, caller.f_back
        if caller is not None:
            found.append((frame.f_back.f_code.co_name, depth))

    sys.setprofile(watch)
    try:
        step()
    finally:
        sys.setprofile(None)
    return found


@pytest.mark.skipif(ON_GPU, reason="kernels that were built ahead of time are called without a frame of Python")
@pytest.mark.parametrize("query_len", [1, 3])
def test_at_most_three_calls_from_the_decoder_to_a_launch(query_len):
    """Catches a layer of lookups or checks that comes between: a step has hundreds of launches."""
    torch.manual_seed(0)
    model = Llama(CONFIG)
    kv = KVCacheManager(8, 4, CONFIG.num_kv_heads, CONFIG.head_dim, torch.float32, CONFIG.num_layers)
    kv.allocate_blocks("a", 5)
    at = torch.arange(5 - query_len, 5)
    table = torch.tensor([kv.block_tables["a"]])
    slots = torch.tensor(kv.slot_mapping("a", 5 - query_len, 5))
    batch = Batch(at + 7, at, slots, table, torch.tensor([5]), [query_len], [5])
    operations = ops.operations(KERNELS)
    model(batch, kv, operations)  # compiles
    found = launches(lambda: model(batch, kv, operations))
    names = {name for name, _ in found}
    assert {"embedding", "rms_norm", "rope_and_cache", "silu_mul"} < names, names
    assert len(found) == 1 + CONFIG.num_layers * 5 + 1
    assert max(depth for _, depth in found) <= 3, found
