// Fences and flags that order blocks, values that are stored twice, and undefined values that nobody uses.
#include <cooperative_groups.h>
namespace cg = cooperative_groups;

// call: last_block(x=randn(512), partial=zeros(8), y=zeros(1), ticket=zeros_i(1))
// want: y = x.sum().view(1); ticket = torch.zeros(1, dtype=torch.int32)
// tolerance: 1e-4
// As in CUDA's own sample: no fence after the ticket, which the last block puts back.
__global__ void last_block_kernel(const float* x, volatile float* partial, float* y, unsigned* ticket) {
  __shared__ float sum;
  __shared__ bool last;
  if (threadIdx.x == 0) sum = 0.0f;
  __syncthreads();
  atomicAdd(&sum, x[blockIdx.x * 64 + threadIdx.x]);
  __syncthreads();
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = sum;
    __threadfence();
    last = atomicInc(ticket, gridDim.x) == gridDim.x - 1;
  }
  __syncthreads();
  if (last && threadIdx.x == 0) {
    float total = 0.0f;
    for (unsigned b = 0; b < gridDim.x; ++b) total += partial[b];
    y[0] = total;
    *ticket = 0;
  }
}
extern "C" int last_block(const float* x, float* partial, float* y, int* ticket) {
  last_block_kernel<<<8, 64>>>(x, partial, y, reinterpret_cast<unsigned*>(ticket));
  return cudaGetLastError();
}

// call: every_thread_fences(x=randn(256), data=zeros(256), y=zeros(64), ticket=zeros_i(1))
// want: y = x.view(4, 64).sum(0)
// tolerance: 1e-5
__global__ void all_fence_kernel(const float* x, float* data, float* y, int* ticket) {
  __shared__ int mine;
  data[blockIdx.x * 64 + threadIdx.x] = x[blockIdx.x * 64 + threadIdx.x];
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) mine = atomicAdd(ticket, 1);
  __syncthreads();
  if (mine == gridDim.x - 1) {
    float sum = 0.0f;
    for (unsigned b = 0; b < gridDim.x; ++b) sum += data[b * 64 + threadIdx.x];
    y[threadIdx.x] = sum;
  }
}
extern "C" int every_thread_fences(const float* x, float* data, float* y, int* ticket) {
  all_fence_kernel<<<4, 64>>>(x, data, y, ticket);
  return cudaGetLastError();
}

// call: barrier_then_fence(x=randn(256), data=zeros(256), y=zeros(64), ticket=zeros_i(1))
// want: y = x.view(4, 64).sum(0)
// tolerance: 1e-5
__global__ void barrier_fence_kernel(const float* x, float* data, float* y, int* ticket) {
  __shared__ int mine;
  data[blockIdx.x * 64 + threadIdx.x] = x[blockIdx.x * 64 + threadIdx.x];
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    mine = atomicAdd(ticket, 1);
    __threadfence();
  }
  __syncthreads();
  if (mine != gridDim.x - 1) return;
  float sum = 0.0f;
  for (unsigned b = 0; b < gridDim.x; ++b) sum += data[b * 64 + threadIdx.x];
  y[threadIdx.x] = sum;
}
extern "C" int barrier_then_fence(const float* x, float* data, float* y, int* ticket) {
  barrier_fence_kernel<<<4, 64>>>(x, data, y, ticket);
  return cudaGetLastError();
}

// call: chained_scan(x=randn(256), y=zeros(256), sums=zeros(8), flags=zeros_i(8))
// want: y = x.cumsum(0)
// tolerance: 1e-4
// Every block waits for the one before it.
__global__ void chained_kernel(const float* x, float* y, float* sums, volatile int* flags) {
  __shared__ float before;
  int b = blockIdx.x;
  if (threadIdx.x == 0) {
    float sum = 0.0f;
    for (int i = 0; i < 32; ++i) sum += x[b * 32 + i];
    if (b) {
      while (flags[b - 1] == 0) {}
      __threadfence();
      before = sums[b - 1];
    } else {
      before = 0.0f;
    }
    sums[b] = before + sum;
    __threadfence();
    flags[b] = 1;
  }
  __syncthreads();
  float sum = before;
  for (unsigned i = 0; i <= threadIdx.x; ++i) sum += x[b * 32 + i];
  y[b * 32 + threadIdx.x] = sum;
}
extern "C" int chained_scan(const float* x, float* y, float* sums, int* flags) {
  chained_kernel<<<8, 32>>>(x, y, sums, flags);
  return cudaGetLastError();
}

// call: look_back(x=ints(320, 9), y=zeros_i(10), own=zeros_i(10), upto=zeros_i(10), state=zeros_i(10))
// want: y = x.view(10, 32).sum(1).cumsum(0).int()
// Decoupled look-back: a block's own sum is published first (1), then the sum up to it (2); a block walks back.
__global__ void look_back_kernel(const int* x, int* y, int* own, int* upto, int* state) {
  int b = blockIdx.x, sum = __reduce_add_sync(~0u, x[b * 32 + threadIdx.x]);
  if (threadIdx.x == 0) {
    own[b] = sum;
    __threadfence();
    atomicExch(&state[b], b ? 1 : 2);
    int before = 0;
    for (int k = b - 1; k >= 0; --k) {
      int seen;
      while ((seen = atomicAdd(&state[k], 0)) == 0) {}
      __threadfence();
      if (seen == 2 && k) { before += upto[k]; break; }
      before += own[k];
    }
    upto[b] = before + sum;
    __threadfence();
    atomicExch(&state[b], 2);
    y[b] = before + sum;
  }
}
extern "C" int look_back(const int* x, int* y, int* own, int* upto, int* state) {
  look_back_kernel<<<10, 32>>>(x, y, own, upto, state);
  return cudaGetLastError();
}

// call: locked_sum(x=randn(8), y=zeros(1), lock=zeros_i(1))
// want: y = x.sum().view(1)
// tolerance: 1e-5
// A lock around a plain update; the unlock is a volatile store.
__global__ void locked_kernel(const float* x, float* y, int* lock) {
  if (threadIdx.x == 0) {
    while (atomicCAS(lock, 0, 1) != 0) {}
    __threadfence();
    *y += x[blockIdx.x];
    __threadfence();
    *(volatile int*)lock = 0;
  }
}
extern "C" int locked_sum(const float* x, float* y, int* lock) {
  locked_kernel<<<8, 32>>>(x, y, lock);
  return cudaGetLastError();
}

// call: flag_in_a_block(x=randn(1), y=zeros(1))
// want: y = 2 * x
// One warp tells another, with a fence of the block's scope.
__global__ void block_flag_kernel(const float* x, float* y) {
  __shared__ float data;
  __shared__ volatile int flag;
  if (threadIdx.x == 0) flag = 0;
  __syncthreads();
  if (threadIdx.x == 0) {
    data = 2.0f * x[0];
    __threadfence_block();
    flag = 1;
  }
  if (threadIdx.x == 32) {
    while (flag == 0) {}
    __threadfence_block();
    y[0] = data;
  }
}
extern "C" int flag_in_a_block(const float* x, float* y) {
  block_flag_kernel<<<1, 64>>>(x, y);
  return cudaGetLastError();
}

// call: is_any_negative(x=randn(256), y=zeros_i(1))
// want: y = (x < 0).any().int().view(1)
// Many threads of many blocks store the same value.
__global__ void any_kernel(const float* x, int* y) {
  if (x[blockIdx.x * 64 + threadIdx.x] < 0.0f) y[0] = 1;
}
extern "C" int is_any_negative(const float* x, int* y) {
  any_kernel<<<4, 64>>>(x, y);
  return cudaGetLastError();
}

// call: shared_answer(x=ints(64, 9), y=zeros_i(64))
// want: y = (x == 3).any().int().repeat(64)
__global__ void shared_answer_kernel(const int* x, int* y) {
  __shared__ bool found;
  found = false;
  __syncthreads();
  if (x[threadIdx.x] == 3) found = true;
  __syncthreads();
  y[threadIdx.x] = found;
}
extern "C" int shared_answer(const int* x, int* y) {
  shared_answer_kernel<<<1, 64>>>(x, y);
  return cudaGetLastError();
}

// call: stops_early(x=ints(256, 50), y=zeros_i(1))
// want: y = torch.tensor([1], dtype=torch.int32)
// Blocks look now and then whether another has found it already.
__global__ void stops_early_kernel(const int* x, volatile int* y) {
  for (int i = threadIdx.x; i < 64; i += 32) {
    if (*y) return;
    if (x[blockIdx.x * 64 + i] > 20) *y = 1;
  }
}
extern "C" int stops_early(const int* x, int* y) {
  stops_early_kernel<<<4, 32>>>(x, y);
  return cudaGetLastError();
}

// call: largest(x=randn(256), y=zeros(1))
// want: y = x.max().view(1)
// A maximum of floats by compare-and-swap, with a plain first read; shared and global.
__device__ float swap_max(float* address, float value) {
  int* as_int = (int*)address;
  int old = *as_int, assumed;
  do {
    assumed = old;
    old = atomicCAS(as_int, assumed, __float_as_int(fmaxf(value, __int_as_float(assumed))));
  } while (assumed != old);
  return __int_as_float(old);
}
__global__ void largest_kernel(const float* x, float* y) {
  __shared__ float most;
  if (threadIdx.x == 0) most = -1e30f;
  __syncthreads();
  swap_max(&most, x[blockIdx.x * 64 + threadIdx.x]);
  __syncthreads();
  if (threadIdx.x == 0) swap_max(y, most);
}
extern "C" int largest(const float* x, float* y) {
  largest_kernel<<<4, 64>>>(x, y);
  return cudaGetLastError();
}

// call: add_doubles(x=randn(64), y=zeros_d(1))
// want: y = x.double().sum().view(1)
// tolerance: 1e-9
__device__ double add_by_swap(double* address, double value) {
  auto* bits = (unsigned long long*)address;
  unsigned long long old = *bits, assumed;
  do {
    assumed = old;
    old = atomicCAS(bits, assumed, (unsigned long long)__double_as_longlong(value + __longlong_as_double((long long)assumed)));
  } while (assumed != old);
  return __longlong_as_double((long long)old);
}
__global__ void add_doubles_kernel(const float* x, double* y) { add_by_swap(y, x[blockIdx.x * 32 + threadIdx.x]); }
extern "C" int add_doubles(const float* x, double* y) {
  add_doubles_kernel<<<2, 32>>>(x, y);
  return cudaGetLastError();
}

// call: tail_of_a_tile(x=randn(48), y=zeros(3))
// want: y = x.view(3, 16).sum(1)
// tolerance: 1e-5
// 48 threads: the second warp has half its lanes, and a tile of 16 reads beyond its end in lanes that nobody uses.
__global__ void tail_kernel(const float* x, float* y) {
  float v = x[threadIdx.x];
  for (int d = 8; d; d /= 2) v += __shfl_down_sync(0xffffu << (threadIdx.x & 16), v, d);
  if (threadIdx.x % 16 == 0) y[threadIdx.x / 16] = v;
}
extern "C" int tail_of_a_tile(const float* x, float* y) {
  tail_kernel<<<1, 48>>>(x, y);
  return cudaGetLastError();
}

// call: calls_counted(x=randn(32), y=zeros(1))
// want: y = x.sum().view(1)
// tolerance: 1e-5
// Undefined values that nobody uses, in a module with a variable that every call changes.
__device__ int calls;
__global__ void calls_kernel(const float* x, float* y) {
  float v = x[threadIdx.x] + __shfl_down_sync(~0u, x[threadIdx.x], 16);
  if (threadIdx.x < 16) {
    for (int d = 8; d; d /= 2) v += __shfl_down_sync(0xffffu, v, d);
  }
  if (threadIdx.x == 0) {
    y[0] = calls == 0 ? v : -1.0f;
    ++calls;
  }
}
extern "C" int calls_counted(const float* x, float* y) {
  int none = 0;
  cudaMemcpyToSymbol(calls, &none, sizeof none);
  calls_kernel<<<1, 32>>>(x, y);
  return cudaGetLastError();
}

// call: weighted(x=randn(68), y=zeros(64))
// want: y = sum((i + 1) * x[i:i + 64] for i in range(5))
// tolerance: 1e-5
// Constant memory read to its last element, copies in both directions, and fills.
__constant__ float weights[5];
__global__ void weighted_kernel(const float* x, float* y) {
  float sum = 0.0f;
  for (int i = 0; i < 5; ++i) sum += weights[i] * x[threadIdx.x + i];
  y[threadIdx.x] = sum;
}
extern "C" int weighted(const float* x, float* y) {
  float five[5], *scratch;
  for (int i = 0; i < 5; ++i) five[i] = i + 1;
  cudaMalloc(&scratch, 68 * sizeof(float));
  cudaMemset(scratch, 0, 68 * sizeof(float));
  cudaMemcpy(scratch, x, 68 * sizeof(float), cudaMemcpyDeviceToDevice);
  float back[68];
  cudaMemcpy(back, scratch, sizeof back, cudaMemcpyDeviceToHost);
  cudaMemcpy(scratch, back, sizeof back, cudaMemcpyHostToDevice);
  cudaMemcpyAsync(scratch, back, sizeof back, cudaMemcpyDefault);
  cudaMemcpyToSymbol(weights, five, sizeof five);
  weighted_kernel<<<1, 64>>>(scratch, y);
  cudaFree(scratch);
  return cudaGetLastError();
}

// call: groups(x=ints(64, 9), y=zeros_i(64))
// want: y = x.view(8, 8).sum(1).repeat_interleave(8).int()
__global__ void groups_kernel(const int* x, int* y) {
  auto block = cg::this_thread_block();
  auto tile = cg::tiled_partition<8>(block);
  int sum = x[block.thread_rank()];
  for (int d = tile.size() / 2; d; d /= 2) sum += tile.shfl_xor(sum, d);
  block.sync(); block.sync();
  y[block.thread_rank()] = sum;
}
extern "C" int groups(const int* x, int* y) {
  groups_kernel<<<1, 64>>>(x, y);
  return cudaGetLastError();
}

// call: first_or_larger(x=randn(64), y=zeros(4))
// want: y = x.view(16, 4).amax(0)
// The compiler cannot see that `most` is always set.
__global__ void first_or_larger_kernel(const float* x, float* y, int n) {
  float most;
  for (int i = 0; i < n; ++i) most = i == 0 ? x[threadIdx.x] : fmaxf(most, x[4 * i + threadIdx.x]);
  y[threadIdx.x] = most;
}
extern "C" int first_or_larger(const float* x, float* y) {
  first_or_larger_kernel<<<1, 4>>>(x, y, 16);
  return cudaGetLastError();
}
