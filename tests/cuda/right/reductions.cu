// Reductions, scans and histograms: shared memory, warp functions, atomics, cooperative groups.
#include <cooperative_groups.h>
#include <cooperative_groups/reduce.h>
#include <cuda_fp16.h>

#include <cfloat>
#include <climits>
namespace cg = cooperative_groups;
#define FULL 0xffffffffu

// call: tree_sum(x=randn(300), y=zeros(1), n=300)
// want: y = x.sum().view(1)
// tolerance: 1e-4
__global__ void tree_sum_kernel(const float* x, float* y, int n) {
  __shared__ float partial[256];
  float sum = 0.0f;
  for (int i = threadIdx.x; i < n; i += blockDim.x) sum += x[i];
  partial[threadIdx.x] = sum;
  __syncthreads();
  for (int half = blockDim.x / 2; half > 0; half >>= 1) {
    if (threadIdx.x < half) partial[threadIdx.x] += partial[threadIdx.x + half];
    __syncthreads();
  }
  if (threadIdx.x == 0) *y = partial[0];
}
extern "C" int tree_sum(const float* x, float* y, int n) {
  tree_sum_kernel<<<1, 256>>>(x, y, n);
  return cudaGetLastError();
}

// call: block_sums(x=randn(4, 200), y=zeros(4), columns=200)
// want: y = x.sum(1)
// tolerance: 1e-4
template <int kWarps>
__device__ float block_sum(float value) {
  __shared__ float per_warp[kWarps];
  for (int offset = 16; offset; offset >>= 1) value += __shfl_down_sync(FULL, value, offset);
  if (threadIdx.x % 32 == 0) per_warp[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = 0.0f;
  for (int w = 0; w < kWarps; ++w) sum += per_warp[w];
  return sum;
}
__global__ void __launch_bounds__(128) block_sums_kernel(const float* x, float* y, int columns) {
  const float* row = x + blockIdx.x * columns;
  float sum = 0.0f;
  for (int i = threadIdx.x; i < columns; i += blockDim.x) sum += row[i];
  sum = block_sum<4>(sum);
  if (threadIdx.x == 0) y[blockIdx.x] = sum;
}
extern "C" int block_sums(const float* x, float* y, int columns) {
  block_sums_kernel<<<4, 128>>>(x, y, columns);
  return cudaGetLastError();
}

// call: softmax(x=randn(5, 100) * 4, y=zeros(5, 100), columns=100)
// want: y = torch.softmax(x, 1)
// tolerance: 1e-5
__global__ void softmax_kernel(const float* x, float* y, int columns) {
  int row = blockIdx.x * blockDim.y + threadIdx.y, lane = threadIdx.x;
  if (row >= 5) return;
  float most = -FLT_MAX, sum = 0.0f;
  for (int i = lane; i < columns; i += 32) most = fmaxf(most, x[row * columns + i]);
  for (int m = 16; m; m /= 2) most = fmaxf(most, __shfl_xor_sync(FULL, most, m));
  for (int i = lane; i < columns; i += 32) sum += expf(x[row * columns + i] - most);
  for (int m = 16; m; m /= 2) sum += __shfl_xor_sync(FULL, sum, m);
  for (int i = lane; i < columns; i += 32) y[row * columns + i] = expf(x[row * columns + i] - most) / sum;
}
extern "C" int softmax(const float* x, float* y, int columns) {
  softmax_kernel<<<2, dim3(32, 3)>>>(x, y, columns);
  return cudaGetLastError();
}

// call: inclusive_scan(x=ints(64, 10), y=zeros_i(64))
// want: y = x.cumsum(0).int()
__global__ void scan_kernel(const int* x, int* y) {
  __shared__ int warp_total[2];
  int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, value = x[threadIdx.x];
  for (int d = 1; d < 32; d <<= 1) {
    int below = __shfl_up_sync(FULL, value, d);
    if (lane >= d) value += below;
  }
  if (lane == 31) warp_total[warp] = value;
  __syncthreads();
  if (warp == 1) value += warp_total[0];
  y[threadIdx.x] = value;
}
extern "C" int inclusive_scan(const int* x, int* y) {
  scan_kernel<<<1, 64>>>(x, y);
  return cudaGetLastError();
}

// call: histogram(x=ints(1000, 7), counts=zeros_i(7), n=1000)
// want: counts = torch.bincount(x, minlength=7).int()
__global__ void histogram_kernel(const int* x, int* counts, int n) {
  __shared__ int local[7];
  for (int i = threadIdx.x; i < 7; i += blockDim.x) local[i] = 0;
  __syncthreads();
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) atomicAdd(&local[x[i]], 1);
  __syncthreads();
  for (int i = threadIdx.x; i < 7; i += blockDim.x) atomicAdd(&counts[i], local[i]);
}
extern "C" int histogram(const int* x, int* counts, int n) {
  histogram_kernel<<<3, 64>>>(x, counts, n);
  return cudaGetLastError();
}

// call: last_block_sums(x=randn(512), partial=zeros(8), y=zeros(1), ticket=zeros_i(1))
// want: y = x.sum().view(1)
// tolerance: 1e-4
// The last block to finish adds up what the others left, after a __threadfence().
__global__ void last_block_kernel(const float* x, float* partial, float* y, int* ticket) {
  float sum = 0.0f;
  if (threadIdx.x == 0) {
    for (int i = 0; i < 64; ++i) sum += x[blockIdx.x * 64 + i];
    partial[blockIdx.x] = sum;
    __threadfence();
    if (atomicAdd(ticket, 1) == gridDim.x - 1) {
      float total = 0.0f;
      for (unsigned b = 0; b < gridDim.x; ++b) total += partial[b];
      y[0] = total;
    }
  }
}
extern "C" int last_block_sums(const float* x, float* partial, float* y, int* ticket) {
  last_block_kernel<<<8, 32>>>(x, partial, y, ticket);
  return cudaGetLastError();
}

// call: atomic_kinds(y=zeros_i(12), f=zeros(2), d=zeros_d(1), h=zeros(2).half())
// want: y = torch.tensor([64, 63, -63, 63, 64, 1, 0, 4, 5, 64, 0, 0], dtype=torch.int32); f = torch.tensor([32., 64.]); d = torch.tensor([16.0]).double(); h = torch.tensor([64., 32.]).half()
__global__ void atomic_kinds_kernel(int* y, float* f, double* d, __half* h) {
  int t = threadIdx.x;
  atomicAdd(&y[0], 1);
  atomicMax(&y[1], t);
  atomicMin(&y[2], -t);
  atomicOr(&y[3], t);
  atomicSub(&y[4], -1);
  atomicExch(&y[5], 1);
  atomicAnd(&y[6], t);
  atomicInc(reinterpret_cast<unsigned*>(&y[7]), 4u);
  atomicCAS(&y[8], 0, 5);
  for (int old = y[10], seen; t < 0 && (seen = atomicCAS(&y[10], old, old + 1)) != old;) old = seen;
  atomicAdd(reinterpret_cast<unsigned*>(&y[9]), 1u);
  atomicAdd(&f[0], 0.5f);
  atomicAdd(&f[1], 1.0f);
  atomicAdd(d, 0.25);
  atomicAdd(reinterpret_cast<__half2*>(h), __floats2half2_rn(1.0f, 0.5f));
}
extern "C" int atomic_kinds(int* y, float* f, double* d, __half* h) {
  atomic_kinds_kernel<<<1, 64>>>(y, f, d, h);
  return cudaGetLastError();
}

// call: votes(y=zeros_i(64), z=zeros_i(4))
// want: y = torch.tensor([16, 16, 8, 21] * 16, dtype=torch.int32); z = torch.tensor([50, 0, 1, 64], dtype=torch.int32)
__global__ void votes_kernel(int* y, int* z) {
  int t = threadIdx.x, lane = t % 32;
  unsigned even = __ballot_sync(FULL, lane % 2 == 0);
  int any = __any_sync(FULL, lane == 7), all = __all_sync(FULL, lane < 31);
  int same = __popc(__match_any_sync(FULL, lane % 4));
  int lower = lane < 16 ? __reduce_add_sync(0x0000ffffu, 1) : __reduce_max_sync(0xffff0000u, lane) - 15;
  int value = t % 4 == 0 ? __popc(even) : t % 4 == 1 ? lower * any : t % 4 == 2 ? same : 21 + all;
  y[t] = value;
  int count = __syncthreads_count(t < 50), none = __syncthreads_and(t < 50), some = __syncthreads_or(t == 3);
  if (t == 0) {
    z[0] = count;
    z[1] = none;
    z[2] = some != 0;
    z[3] = blockDim.x;
  }
}
extern "C" int votes(int* y, int* z) {
  votes_kernel<<<1, 64>>>(y, z);
  return cudaGetLastError();
}

// call: groups(x=randn(96), y=zeros(96), z=zeros(96))
// want: y = x.view(12, 8).sum(1, keepdim=True).expand(12, 8).reshape(96); z = x.view(3, 32).amax(1, keepdim=True).expand(3, 32).reshape(96)
// tolerance: 1e-5
__global__ void groups_kernel(const float* x, float* y, float* z) {
  cg::thread_block block = cg::this_thread_block();
  auto warp = cg::tiled_partition<32>(block);
  auto tile = cg::tiled_partition<8>(warp);
  int t = block.thread_rank();
  float sum = x[t];
  for (int offset = tile.size() / 2; offset > 0; offset /= 2) sum += tile.shfl_xor(sum, offset);
  y[t] = tile.shfl(sum, 0);
  z[t] = cg::reduce(warp, x[t], cg::greater<float>());
  block.sync();
  if (warp.meta_group_rank() > 2) z[t] = 0.0f;
}
extern "C" int groups(const float* x, float* y, float* z) {
  groups_kernel<<<1, 96>>>(x, y, z);
  return cudaGetLastError();
}

// call: compact(x=ints(64, 5), y=zeros_i(64), count=zeros_i(1))
// want: count = torch.tensor([13], dtype=torch.int32)
// One atomic per warp: the lanes that are together agree on places.
__global__ void compact_kernel(const int* x, int* y, int* count) {
  if (x[threadIdx.x] == 3 || x[threadIdx.x] == 9) {
    cg::coalesced_group active = cg::coalesced_threads();
    int first = 0;
    if (active.thread_rank() == 0) first = atomicAdd(count, active.size());
    first = active.shfl(first, 0);
    y[first + active.thread_rank()] = x[threadIdx.x];
  }
}
extern "C" int compact(const int* x, int* y, int* count) {
  compact_kernel<<<1, 64>>>(x, y, count);
  return cudaGetLastError();
}

// call: spin_lock(y=zeros_i(1), lock=zeros_i(1))
// want: y = torch.tensor([96], dtype=torch.int32)
// Only atomics touch the shared number, so the lock is no race.
__global__ void spin_lock_kernel(int* y, int* lock) {
  while (atomicCAS(lock, 0, 1) != 0) __nanosleep(20);
  atomicExch(y, atomicAdd(y, 0) + 1);
  __threadfence();
  atomicExch(lock, 0);
}
extern "C" int spin_lock(int* y, int* lock) {
  spin_lock_kernel<<<3, 32>>>(y, lock);
  return cudaGetLastError();
}

// call: segment_max(x=randn(128), y=zeros(4))
// want: y = x.view(4, 32).amax(1)
// Partial masks and a tail that is shuffled in from outside the mask but never used.
__global__ void segment_max_kernel(const float* x, float* y) {
  float v = x[threadIdx.x];
  v = fmaxf(v, __shfl_down_sync(FULL, v, 16));
  if (threadIdx.x % 32 < 16) {
    for (int offset = 8; offset; offset /= 2) v = fmaxf(v, __shfl_down_sync(0xffffu, v, offset));
  }
  if (threadIdx.x % 32 == 0) y[threadIdx.x / 32] = v;
}
extern "C" int segment_max(const float* x, float* y) {
  segment_max_kernel<<<1, 128>>>(x, y);
  return cudaGetLastError();
}
