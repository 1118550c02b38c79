"""profile(): the counts are those that pencil and paper give, and the trace is the map from thread to address."""

from pathlib import Path

import pytest
import torch

import yaie.cuda
from tests.cuda.test_right import COMPILERS

SOURCE = """
__global__ void strided(const float* x, float* y, int stride) {
  y[threadIdx.x] = x[threadIdx.x * stride];
}
__global__ void transpose(const float* x, float* y) {
  __shared__ float tile[32][32];
  tile[threadIdx.y][threadIdx.x] = x[threadIdx.y * 32 + threadIdx.x];
  __syncthreads();
  float v = tile[threadIdx.x][threadIdx.y];
  y[threadIdx.y * 32 + threadIdx.x] = v;
}
__global__ void wide(const float4* x, float4* y) {
  __shared__ float4 tile[32];
  tile[threadIdx.x] = x[threadIdx.x];
  y[threadIdx.x] = tile[threadIdx.x ^ 1];
}
__global__ void count(int* y) {
  atomicAdd(&y[threadIdx.x / 16], 1);
}
__global__ void divergent(const float* x, float* y) {
  if (threadIdx.x % 2 == 0) {
    y[threadIdx.x] = x[threadIdx.x];
  }
}
extern "C" int run_strided(const float* x, float* y, int stride) { strided<<<1, 32>>>(x, y, stride); return 0; }
extern "C" int run_transpose(const float* x, float* y) { transpose<<<1, dim3(32, 32)>>>(x, y); return 0; }
extern "C" int run_wide(const float4* x, float4* y) { wide<<<1, 32>>>(x, y); return 0; }
extern "C" int run_count(int* y) { count<<<1, 64>>>(y); return 0; }
extern "C" int run_divergent(const float* x, float* y) { divergent<<<1, 32>>>(x, y); return 0; }
"""


@pytest.fixture(params=COMPILERS)
def module(request):
    return yaie.cuda.load(SOURCE, backend="emulator", compiler=request.param)


@pytest.mark.parametrize(
    ("stride", "sectors", "used"), [(0, 1, 1 / 8), (1, 4, 1), (2, 8, 1 / 2), (8, 32, 1 / 8), (33, 32, 1 / 8)]
)
def test_sectors_of_strided_reads(module, stride, sectors, used):
    """Would catch a count of lanes instead of 32-byte sectors, or tensors that do not begin on a sector."""
    profile = module.profile("run_strided", torch.randn(32 * 33), torch.zeros(32), stride)
    load, store = profile.line(3, operation="load"), profile.line(3, operation="store")
    assert (load.requests, load.sectors_per_request, load.share_used) == (1, sectors, used)
    assert (store.requests, store.sectors_per_request, store.share_used) == (1, 4, 1)
    assert profile.bytes_moved == 32 * (sectors + 4)


def test_misaligned_view_needs_one_more_sector(module):
    """Would catch copies that forget where in its storage a tensor begins."""
    profile = module.profile("run_strided", torch.randn(64)[1:33], torch.zeros(32), 1)
    assert profile.line(3, operation="load").sectors_per_request == 5


def test_bank_conflicts_of_a_transpose(module):
    """Would catch banks counted per byte, or broadcasts counted as conflicts."""
    module.run_transpose(torch.randn(32, 32), torch.zeros(32, 32))
    profile = module.profile()
    store, load = profile.line(7, space="shared"), profile.line(9)
    assert (store.requests, store.most_ways, store.bank_conflicts) == (32, 1, 0)
    assert (load.requests, load.most_ways, load.bank_conflicts) == (32, 32, 31 * 32)
    assert "transpose" in {launch.kernel for launch in profile.launches}
    assert "32" in profile.table()


def test_a_float4_is_one_access(module):
    """Would catch a compiler that splits vector loads into four."""
    with pytest.raises(yaie.cuda.KernelError):  # lanes swap through shared memory without a __syncwarp()
        module.run_wide(torch.randn(128), torch.zeros(128))
    profile = module.profile()
    assert {(p.space, p.operation, p.bytes_per_lane, p.requests) for p in profile.lines} == {
        ("global", "load", 16, 1),
        ("global", "store", 16, 1),
        ("shared", "load", 16, 1),
        ("shared", "store", 16, 1),
    }
    assert profile.bank_conflicts == 0


def test_atomics_are_counted(module):
    """Would catch atomics that are lost or counted as a load and a store."""
    module.run_count(torch.zeros(4, dtype=torch.int32))
    (line,) = module.profile().lines
    assert (line.operation, line.requests, line.lanes, line.used_bytes) == ("atomic", 2, 64, 16)


def test_divergent_lanes_are_one_request(module):
    """Would catch a request per lane where half of the warp is switched off."""
    module.run_divergent(torch.randn(32), torch.zeros(32))
    load = module.profile().line(22, operation="load")
    assert (load.requests, load.lanes, load.sectors, load.share_used) == (1, 16, 4, 0.5)


def test_trace_of_a_warp(module):
    """Would catch a trace of the wrong warp, or element numbers that are not those of the tensor."""
    profile = module.profile("run_transpose", torch.randn(32, 32), torch.zeros(32, 32), warp=3)
    steps = [(s.line, s.operation, s.array, s.elements[:3]) for s in profile.trace]
    assert steps == [
        (7, "load", "x", (96, 97, 98)),
        (7, "store", "tile", (96, 97, 98)),
        (9, "load", "tile", (3, 35, 67)),
        (10, "store", "y", (96, 97, 98)),
    ]
    assert all(s.lanes == tuple(range(32)) for s in profile.trace)
    assert profile.trace[2].addresses[1] - profile.trace[2].addresses[0] == 128
    assert (profile.trace_block, profile.trace_warp) == ((0, 0, 0), 3)


def test_trace_is_the_same_on_every_run(module):
    """Would catch addresses of this process, which no notebook could store, and a view that lost its offset."""
    x = torch.randn(64)
    aligned = module.profile("run_strided", x, torch.zeros(32), 1).trace[0]
    shifted = module.profile("run_strided", x[1:33], torch.zeros(32), 1).trace[0]
    assert aligned.addresses == tuple(range(0, 128, 4))
    assert shifted.addresses == tuple(range(4, 132, 4))
    assert shifted.elements == aligned.elements == tuple(range(32))


def test_copy_of_vectors_reads_before_it_writes(module):
    """Would catch the order in which a compiler reports `y[i] = x[i]` of a struct: the store first."""
    source = """
__global__ void copy(const int4* x, int4* y) { y[threadIdx.x] = x[threadIdx.x]; }
extern "C" int run_copy(const int4* x, int4* y) { copy<<<1, 32>>>(x, y); return 0; }
"""
    copy = yaie.cuda.load(source, backend="emulator")
    x = torch.arange(128, dtype=torch.int32)
    steps = copy.profile("run_copy", x, torch.zeros_like(x)).trace
    assert [(s.step, s.operation, s.array) for s in steps] == [(0, "load", "x"), (1, "store", "y")]


def test_profile_needs_a_call():
    """Would catch numbers of a call that was not counted."""
    module = yaie.cuda.load(SOURCE, backend="emulator", check=False)
    with pytest.raises(RuntimeError, match="needs a call in check mode"):
        module.profile()
    with pytest.raises(AttributeError, match="has no launcher nothing; it has run_strided"):
        module.profile("nothing")


MMA = """
#include <yaie_ptx.cuh>
__global__ void multiply(float* y, int times) {
  const uint32_t a[4] = {}, b[2] = {};
  float d[4] = {};
  for (int i = 0; i < times; ++i) yaie::mma_m16n8k16_f16(d, a, b, d);
  y[threadIdx.x] = d[0];
}
extern "C" int run_multiply(float* y, int times) { multiply<<<1, 64>>>(y, times); return 0; }
"""


@pytest.mark.parametrize("times", [0, 3])
def test_calls_of_tensor_cores_are_those_of_warps(times):
    """Would catch a count of lanes, or one that does not begin anew."""
    module = yaie.cuda.load(MMA, backend="emulator")
    for _ in range(2):
        profile = module.profile("run_multiply", torch.zeros(64), times)
        assert profile.tensor_core_calls == 2 * times
    assert ("tensor cores were called 6 times" in str(profile)) == (times > 0)


STREAMS = """
__global__ void one(float* x) { x[0] = 1; }
extern "C" int first(float* x, cudaStream_t stream) { one<<<1, 1, 0, stream>>>(x); return cudaGetLastError(); }
extern "C" int own(float* x) {
  cudaStream_t a, b;
  cudaStreamCreate(&a);
  cudaStreamCreate(&b);
  one<<<1, 1, 0, a>>>(x);
  void* arguments[] = {&x};
  cudaLaunchKernel(one, dim3(1), dim3(1), arguments, 0, b);
  one<<<1, 1>>>(x);
  return cudaStreamDestroy(a) || cudaStreamDestroy(b);
}
extern "C" int late(float* x, int twice) {
  cudaStream_t stream;
  cudaStreamCreate(&stream);
  cudaStreamDestroy(stream);
  if (twice) return cudaStreamDestroy(stream);
  one<<<1, 1, 0, stream>>>(x);
  return cudaGetLastError();
}
"""


def test_launches_name_their_streams():
    """Would catch a launch on the wrong stream that nobody can see, and one that a card refuses because it is gone."""
    module, x = yaie.cuda.load(STREAMS, backend="emulator"), torch.zeros(1)
    assert [launch.stream for launch in module.profile("first", x, stream=0x5EED).launches] == [0x5EED]
    assert [launch.stream for launch in module.profile("first", x).launches] == [0]
    a, b, default = (launch.stream for launch in module.profile("own", x).launches)
    assert len({a, b, default}) == 3
    assert default == 0
    with pytest.raises(yaie.cuda.KernelError, match="its stream was destroyed before"):
        module.late(x, 0)
    with pytest.raises(yaie.cuda.KernelError, match="error 400"):
        module.late(x, 1)


def test_boxes_and_products_are_counted():
    """Would catch TMA whose box is counted by elements or whose tensor looks untouched, and a swizzle that is not
    followed when the banks are counted: in it no eight rows of an operand meet a bank twice.
    """
    module = yaie.cuda.load(Path(__file__).parent / "right" / "hopper.cu", backend="emulator")
    a, b, c = torch.zeros(64, 64).half(), torch.zeros(80, 64).half(), torch.zeros(64, 80)
    profile = module.profile("product_128", a, b, c)
    loads = [line for line in profile.lines if "tma_load" in line.source]
    assert [(line.requests, line.sectors, line.share_used) for line in loads] == [(1, 64 * 4, 1), (1, 80 * 4, 1)]
    (product,) = (line for line in profile.lines if "wgmma_ss" in line.source)
    assert (product.requests, product.wavefronts, product.bank_conflicts) == (4, 4 * 2 * (64 + 80) // 8, 0)
    assert profile.tensor_core_calls == 4 * 4 * 80 // 8  # as many m16n8k16 of a warp
    assert all(each.touched_bytes == each.bytes for each in profile.tensors)
