// Barriers and warp functions that not everybody reaches, and copies that nobody waits for.

// expect: barrier_divergence
// call: two_barriers(randn(64), zeros(64))
__global__ void two_barriers_kernel(const float* x, float* y) {
  __shared__ float tile[64];
  tile[threadIdx.x] = x[threadIdx.x];
  if (threadIdx.x < 40) {
    __syncthreads();  // OTHER
    y[threadIdx.x] = tile[0];
  } else {
    __syncthreads();  // HERE
    y[threadIdx.x] = tile[1];
  }
}
extern "C" int two_barriers(const float* x, float* y) {
  two_barriers_kernel<<<1, 64>>>(x, y);
  return cudaGetLastError();
}

// expect: exit_before_barrier
// call: early_return(randn(64), zeros(64), 60)
__global__ void early_return_kernel(const float* x, float* y, int n) {
  __shared__ float tile[64];
  if (threadIdx.x >= n) return;
  tile[threadIdx.x] = x[threadIdx.x];
  __syncthreads();  // HERE
  y[threadIdx.x] = tile[n - 1 - threadIdx.x];
}
extern "C" int early_return(const float* x, float* y, int n) {
  early_return_kernel<<<1, 64>>>(x, y, n);
  return cudaGetLastError();
}

// expect: exit_before_barrier
// call: barrier_in_branch(randn(64), zeros(64))
__global__ void barrier_in_branch_kernel(const float* x, float* y) {
  if (threadIdx.x < 32) {
    y[threadIdx.x] = x[threadIdx.x];
    __syncthreads();  // HERE
  }
}
extern "C" int barrier_in_branch(const float* x, float* y) {
  barrier_in_branch_kernel<<<1, 64>>>(x, y);
  return cudaGetLastError();
}

// expect: exit_before_barrier
// call: different_trips(zeros(64))
// Threads leave the loop after different numbers of turns.
__global__ void different_trips_kernel(float* y) {
  for (int i = threadIdx.x; i < 100; i += 64) {
    y[threadIdx.x] += 1.0f;
    __syncthreads();  // HERE
  }
}
extern "C" int different_trips(float* y) {
  different_trips_kernel<<<1, 64>>>(y);
  return cudaGetLastError();
}

// expect: deadlock
// call: half_a_warp_shuffles(randn(32), zeros(32))
__global__ void half_warp_kernel(const float* x, float* y) {
  float v = x[threadIdx.x];
  if (threadIdx.x < 16) v += __shfl_xor_sync(0xffffffffu, v, 1);  // HERE
  __syncthreads();  // OTHER
  y[threadIdx.x] = v;
}
extern "C" int half_a_warp_shuffles(const float* x, float* y) {
  half_warp_kernel<<<1, 32>>>(x, y);
  return cudaGetLastError();
}

// expect: deadlock
// call: different_masks(randn(32), zeros(32))
__global__ void different_masks_kernel(const float* x, float* y) {
  unsigned mask = threadIdx.x < 16 ? 0xffffffffu : 0xfffffffeu;
  y[threadIdx.x] = __shfl_down_sync(mask, x[threadIdx.x], 1);  // HERE
}
extern "C" int different_masks(const float* x, float* y) {
  different_masks_kernel<<<1, 32>>>(x, y);
  return cudaGetLastError();
}

// expect: warp_mask
// call: not_in_the_mask(randn(32), zeros(32))
__global__ void not_in_mask_kernel(const float* x, float* y) {
  y[threadIdx.x] = __shfl_sync(0x0000ffffu, x[threadIdx.x], 0);  // HERE
}
extern "C" int not_in_the_mask(const float* x, float* y) {
  not_in_mask_kernel<<<1, 32>>>(x, y);
  return cudaGetLastError();
}

// expect: warp_divergence
// call: different_functions(zeros_i(32))
__global__ void different_functions_kernel(int* y) {
  if (threadIdx.x < 16) {
    y[threadIdx.x] = __shfl_sync(0xffffffffu, 1, 0);  // OTHER
  } else {
    y[threadIdx.x] = __ballot_sync(0xffffffffu, 1);  // HERE
  }
}
extern "C" int different_functions(int* y) {
  different_functions_kernel<<<1, 32>>>(y);
  return cudaGetLastError();
}

// expect: cp_async_not_waited tile
// call: no_wait(randn(128), zeros(128))
#include <yaie_ptx.cuh>
__global__ void no_wait_kernel(const float* x, float* y) {
  __shared__ __align__(16) float tile[128];
  yaie::cp_async_16(&tile[4 * threadIdx.x], &x[4 * threadIdx.x]);  // OTHER
  yaie::cp_async_commit();
  __syncthreads();
  for (int i = 0; i < 4; ++i) y[4 * threadIdx.x + i] = tile[4 * threadIdx.x + i];  // HERE
}
extern "C" int no_wait(const float* x, float* y) {
  no_wait_kernel<<<1, 32>>>(x, y);
  return cudaGetLastError();
}

// expect: cp_async_not_waited tile
// call: waits_for_the_wrong_group(randn(256), zeros(128))
// Two groups are in flight; wait<1> leaves the second one there.
__global__ void wrong_group_kernel(const float* x, float* y) {
  __shared__ __align__(16) float tile[2][128];
  for (int stage = 0; stage < 2; ++stage) {
    yaie::cp_async_16(&tile[stage][4 * threadIdx.x], &x[128 * stage + 4 * threadIdx.x]);  // OTHER
    yaie::cp_async_commit();
  }
  yaie::cp_async_wait<1>();
  __syncthreads();
  for (int i = threadIdx.x; i < 128; i += 32) y[i] = tile[0][i] + tile[1][i];  // HERE
}
extern "C" int waits_for_the_wrong_group(const float* x, float* y) {
  wrong_group_kernel<<<1, 32>>>(x, y);
  return cudaGetLastError();
}

// expect: race tile
// call: wait_without_barrier(randn(128), zeros(128))
// A wait covers a thread's own copies; the others' need a barrier.
__global__ void wait_without_barrier_kernel(const float* x, float* y) {
  __shared__ __align__(16) float tile[128];
  yaie::cp_async_16(&tile[4 * threadIdx.x], &x[4 * threadIdx.x]);  // HERE
  yaie::cp_async_commit();
  yaie::cp_async_wait<0>();
  for (int i = threadIdx.x; i < 128; i += 32) y[i] = tile[i];  // OTHER
}
extern "C" int wait_without_barrier(const float* x, float* y) {
  wait_without_barrier_kernel<<<1, 32>>>(x, y);
  return cudaGetLastError();
}
