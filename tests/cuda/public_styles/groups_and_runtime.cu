// Cooperative groups, and the host's side of the runtime as samples use it.
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
#include <cuda.h>
#include <cuda_runtime_api.h>
#include <device_launch_parameters.h>
#include <stdexcept>
#include <string>
namespace cg = cooperative_groups;

static void check(cudaError_t status, const std::string &what) {
  if (status != cudaSuccess) throw std::runtime_error(what + ": " + cudaGetErrorName(status));
}

// call: group_sum(x=f(128), out=zeros(1))
// want: out = x.sum()[None]
// tolerance: 1e-4
__device__ float sum_in(const cg::thread_group &group, float *temp, float value) {
  int lane = group.thread_rank();
  for (int i = group.size() / 2; i > 0; i /= 2) {
    temp[lane] = value;
    group.sync();
    if (lane < i) value += temp[lane + i];
    group.sync();
  }
  return value;
}
__global__ void group_kernel(const float *x, float *out) {
  extern __shared__ float temp[];
  auto block = cg::this_thread_block();
  float sum = sum_in(block, temp, x[block.thread_rank()]);
  if (block.thread_rank() == 0) *out = sum;
}
extern "C" int group_sum(const float *x, float *out) {
  group_kernel<<<1, 128, 128 * sizeof(float)>>>(x, out);
  return cudaGetLastError();
}

// call: tiles(x=f(64), out=zeros(4))
// want: out = x.view(4, 16).sum(1)
// tolerance: 1e-5
__global__ void tile_kernel(const float *x, float *out) {
  cg::thread_block block = cg::this_thread_block();
  cg::thread_block_tile<16> tile = cg::tiled_partition<16>(block);
  float v = x[block.thread_rank()];
  for (int o = tile.size() / 2; o > 0; o >>= 1) v += tile.shfl_down(v, o);
  if (tile.thread_rank() == 0) out[tile.meta_group_rank()] = v;
}
extern "C" int tiles(const float *x, float *out) { tile_kernel<<<1, 64>>>(x, out); return cudaGetLastError(); }

// call: reduced(x=ints(64, 9), out=zeros_i(2))
// want: out = torch.stack([x[:32].sum(), x[32:].max()]).int()
__global__ void reduce_kernel(const int *x, int *out) {
  auto warp = cg::tiled_partition<32>(cg::this_thread_block());
  int v = x[threadIdx.x];
  if (warp.meta_group_rank() == 0) { int s = cg::reduce(warp, v, cg::plus<int>()); if (warp.thread_rank() == 0) out[0] = s; }
  else { int m = cg::reduce(warp, v, cg::greater<int>()); if (warp.thread_rank() == 0) out[1] = m; }
}
extern "C" int reduced(const int *x, int *out) { reduce_kernel<<<1, 64>>>(x, out); return cudaGetLastError(); }

// call: coalesced(x=ints(64, 3), out=zeros_i(1))
// want: out = (x == 1).sum().int()[None]
__device__ int add_together(int *p) {
  auto g = cg::coalesced_threads();
  int base = 0;
  if (g.thread_rank() == 0) base = atomicAdd(p, g.size());
  return g.shfl(base, 0) + g.thread_rank();
}
__global__ void coalesced_kernel(const int *x, int *out) { if (x[threadIdx.x] == 1) add_together(out); }
extern "C" int coalesced(const int *x, int *out) { coalesced_kernel<<<1, 64>>>(x, out); return cudaGetLastError(); }

// call: two_dimensional(x=f(8, 10), y=zeros(8, 10))
// want: y = x * 2
__global__ void pitched(float *p, size_t pitch, int width) {
  float *row = (float *)((char *)p + blockIdx.x * pitch);
  if (threadIdx.x < width) row[threadIdx.x] *= 2;
}
extern "C" int two_dimensional(const float *x, float *y) {
  float *d;
  size_t pitch;
  check(cudaMallocPitch(&d, &pitch, 10 * sizeof(float), 8), "pitch");
  check(cudaMemcpy2D(d, pitch, x, 40, 40, 8, cudaMemcpyDeviceToDevice), "in");
  pitched<<<8, 32>>>(d, pitch, 10);
  check(cudaMemcpy2D(y, 40, d, pitch, 40, 8, cudaMemcpyDeviceToDevice), "out");
  return cudaFree(d);
}

// call: asks_the_device(out=zeros_i(5))
// want: out = i([32, 1024, 1, 0, 1])
extern "C" int asks_the_device(int *out) {
  cudaDeviceProp prop;
  int count = 0, device = -1;
  size_t free_bytes = 0, total = 0;
  check(cudaGetDeviceCount(&count), "count");
  check(cudaSetDevice(0), "set");
  check(cudaGetDevice(&device), "get");
  check(cudaGetDeviceProperties(&prop, device), "properties");
  check(cudaMemGetInfo(&free_bytes, &total), "memory");
  int answers[5] = {prop.warpSize, prop.maxThreadsPerBlock, count, device, free_bytes <= total && total > 0};
  return cudaMemcpy(out, answers, sizeof(answers), cudaMemcpyHostToDevice);
}

// call: streams_and_pinned(out=zeros(64))
// want: out = torch.arange(64).float() + 1
__global__ void increment(float *x, int n) { int i = blockIdx.x * blockDim.x + threadIdx.x; if (i < n) x[i] += 1; }
extern "C" int streams_and_pinned(float *out) {
  const int kStreams = 2, n = 32;
  cudaStream_t streams[kStreams];
  cudaEvent_t done;
  float *host, *device;
  check(cudaMallocHost(&host, 64 * sizeof(float)), "host");
  check(cudaMalloc(&device, 64 * sizeof(float)), "device");
  check(cudaEventCreateWithFlags(&done, cudaEventDisableTiming), "event");
  for (int i = 0; i < 64; ++i) host[i] = i;
  for (int s = 0; s < kStreams; ++s) {
    check(cudaStreamCreateWithFlags(&streams[s], cudaStreamNonBlocking), "stream");
    check(cudaMemcpyAsync(device + s * n, host + s * n, n * 4, cudaMemcpyHostToDevice, streams[s]), "copy");
    increment<<<1, n, 0, streams[s]>>>(device + s * n, n);
    check(cudaEventRecord(done, streams[s]), "record");
    check(cudaStreamWaitEvent(streams[0], done, 0), "wait");
  }
  for (auto s : streams) { check(cudaStreamSynchronize(s), "synchronize"); cudaStreamDestroy(s); }
  check(cudaMemcpy(out, device, 64 * 4, cudaMemcpyDeviceToDevice), "out");
  cudaEventDestroy(done);
  cudaFreeHost(host);
  cudaFree(device);
  return cudaDeviceSynchronize();
}

// call: occupancy(x=f(100), n=100)
// want: x = x + 1
extern "C" int occupancy(float *x, int n) {
  int grid = 0, block = 0;
  check(cudaOccupancyMaxPotentialBlockSize(&grid, &block, increment, 0, 0), "occupancy");
  check(cudaFuncSetCacheConfig(increment, cudaFuncCachePreferShared), "cache");
  cudaFuncAttributes attributes;
  check(cudaFuncGetAttributes(&attributes, increment), "attributes");
  block = block < attributes.maxThreadsPerBlock ? block : attributes.maxThreadsPerBlock;
  increment<<<(n + block - 1) / block, block>>>(x, n);
  return cudaGetLastError();
}

// call: fills(x=f(16), y=zeros_i(16))
// want: x = zeros(16); y = torch.full((16,), -1, dtype=torch.int32)
extern "C" int fills(float *x, int *y) {
  cudaMemset(x, 0, 16 * sizeof(float));
  cudaMemsetAsync(y, 0xff, 16 * sizeof(int), 0);
  return cudaGetLastError();
}
