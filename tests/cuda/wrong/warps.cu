// Warp functions that not all named lanes call, and shuffles from lanes that do not take part.
// Brothers: shuffles, votes, matches, reductions, __syncwarp, mma and ldmatrix; two lines, two calls on one line; lanes
// that returned before, that left a loop sooner, that never were; a source outside the mask, beyond the block, returned.

// expect: warp_divergence
// call: two_shuffles(randn(32), zeros(32))
__global__ void two_shuffles_kernel(const float* x, float* y) {
  float v = x[threadIdx.x];
  if (threadIdx.x < 16) {
    v += __shfl_xor_sync(0xffffffffu, v, 1);  // OTHER
  } else {
    v += __shfl_xor_sync(0xffffffffu, v, 2);  // HERE
  }
  y[threadIdx.x] = v;
}
extern "C" int two_shuffles(const float* x, float* y) {
  two_shuffles_kernel<<<1, 32>>>(x, y);
  return cudaGetLastError();
}

// expect: warp_divergence
// call: two_shuffles_on_a_line(randn(32), zeros(32))
__global__ void one_line_kernel(const float* x, float* y) {
  float v = x[threadIdx.x];
  y[threadIdx.x] = threadIdx.x < 7 ? __shfl_sync(~0u, v, 0) : __shfl_sync(~0u, v, 9);  // HERE
}
extern "C" int two_shuffles_on_a_line(const float* x, float* y) {
  one_line_kernel<<<1, 32>>>(x, y);
  return cudaGetLastError();
}

// expect: warp_divergence
// call: two_votes(zeros_i(32))
__global__ void two_votes_kernel(int* y) {
  if (threadIdx.x % 2) {
    y[threadIdx.x] = __any_sync(~0u, threadIdx.x == 3);  // HERE
  } else {
    y[threadIdx.x] = __all_sync(~0u, threadIdx.x < 32);  // OTHER
  }
}
extern "C" int two_votes(int* y) {
  two_votes_kernel<<<1, 32>>>(y);
  return cudaGetLastError();
}

// expect: warp_divergence
// call: two_reductions(zeros_i(32))
__global__ void two_reductions_kernel(int* y) {
  int t = threadIdx.x;
  if (t < 8) {
    y[t] = __reduce_add_sync(~0u, t);  // OTHER
  } else {
    y[t] = __reduce_max_sync(~0u, t);  // HERE
  }
}
extern "C" int two_reductions(int* y) {
  two_reductions_kernel<<<1, 32>>>(y);
  return cudaGetLastError();
}

// expect: warp_divergence
// call: two_syncwarps(zeros(32))
__global__ void two_syncwarps_kernel(float* y) {
  if (threadIdx.x == 0) {
    y[0] = 1.0f;
    __syncwarp();  // OTHER
  } else {
    __syncwarp();  // HERE
    y[threadIdx.x] = 2.0f;
  }
}
extern "C" int two_syncwarps(float* y) {
  two_syncwarps_kernel<<<1, 32>>>(y);
  return cudaGetLastError();
}

// expect: warp_divergence
// call: two_tiles(zeros_i(32))
// Cooperative groups meet by line as well.
#include <cooperative_groups.h>
__global__ void two_tiles_kernel(int* y) {
  auto tile = cooperative_groups::tiled_partition<16>(cooperative_groups::this_thread_block());
  int v = threadIdx.x;
  if (tile.thread_rank() < 4) {
    v = tile.shfl(v, 0);  // OTHER
  } else {
    v = tile.shfl(v, 1);  // HERE
  }
  y[threadIdx.x] = v;
}
extern "C" int two_tiles(int* y) {
  two_tiles_kernel<<<1, 32>>>(y);
  return cudaGetLastError();
}

// expect: warp_divergence
// call: sum_in_a_loop(randn(40), zeros(1), 40)
// Lanes leave the loop at different times, and the sum after it meets the sum within it.
__global__ void sum_in_loop_kernel(const float* x, float* y, int n) {
  float sum = 0.0f;
  for (int i = threadIdx.x; i < n; i += 32) {
    float v = x[i];
    for (int d = 16; d; d /= 2) v += __shfl_down_sync(~0u, v, d);  // HERE
    sum += v;
  }
  sum = __shfl_sync(~0u, sum, 0);  // OTHER
  if (threadIdx.x == 0) y[0] = sum;
}
extern "C" int sum_in_a_loop(const float* x, float* y, int n) {
  sum_in_loop_kernel<<<1, 32>>>(x, y, n);
  return cudaGetLastError();
}

// expect: exit_before_warp_function
// call: loop_then_end(zeros_i(40))
__global__ void loop_then_end_kernel(int* y) {
  for (int i = threadIdx.x; i < 40; i += 32) y[i] = __reduce_add_sync(~0u, 1);  // HERE
}
extern "C" int loop_then_end(int* y) {
  loop_then_end_kernel<<<1, 32>>>(y);
  return cudaGetLastError();
}

// expect: exit_before_warp_function
// call: returned_lane(ints(32, 50), zeros_i(1), 20)
// An int sum from lanes that returned would look like a number.
__global__ void returned_kernel(const int* x, int* y, int n) {
  if (threadIdx.x >= n) return;
  int sum = x[threadIdx.x];
  for (int d = 16; d; d /= 2) sum += __shfl_down_sync(0xffffffffu, sum, d);  // HERE
  if (threadIdx.x == 0) y[0] = sum;
}
extern "C" int returned_lane(const int* x, int* y, int n) {
  returned_kernel<<<1, 32>>>(x, y, n);
  return cudaGetLastError();
}

// expect: exit_before_warp_function
// call: returned_voters(zeros_i(32), 20)
__global__ void returned_voters_kernel(int* y, int n) {
  if (threadIdx.x >= n) return;
  y[threadIdx.x] = __popc(__ballot_sync(~0u, 1));  // HERE
}
extern "C" int returned_voters(int* y, int n) {
  returned_voters_kernel<<<1, 32>>>(y, n);
  return cudaGetLastError();
}

// expect: exit_before_warp_function
// call: returned_matchers(zeros_i(64), 40)
__global__ void returned_matchers_kernel(int* y, int n) {
  if (threadIdx.x >= n) return;
  y[threadIdx.x] = __match_any_sync(~0u, threadIdx.x % 2);  // HERE
}
extern "C" int returned_matchers(int* y, int n) {
  returned_matchers_kernel<<<1, 64>>>(y, n);
  return cudaGetLastError();
}

// expect: exit_before_warp_function
// call: half_a_warp_multiplies(zeros(32))
// The tensor cores take a whole warp; this block has 16 threads.
#include <yaie_ptx.cuh>
__global__ void half_mma_kernel(float* y) {
  uint32_t a[4] = {}, b[2] = {};
  float c[4] = {}, d[4];
  yaie::mma_m16n8k16_f16(d, a, b, c);  // HERE
  y[threadIdx.x] = d[0];
}
extern "C" int half_a_warp_multiplies(float* y) {
  half_mma_kernel<<<1, 16>>>(y);
  return cudaGetLastError();
}

// expect: shuffle_source
// call: outside_the_mask(randn(32), zeros(32))
__global__ void outside_mask_kernel(const float* x, float* y) {
  float v = x[threadIdx.x];
  if (threadIdx.x < 16) v = __shfl_sync(0x0000ffffu, v, 20);  // HERE
  y[threadIdx.x] = v;
}
extern "C" int outside_the_mask(const float* x, float* y) {
  outside_mask_kernel<<<1, 32>>>(x, y);
  return cudaGetLastError();
}

// expect: shuffle_source
// call: a_block_of_20(ints(20, 50), zeros_i(1))
// Lanes 20-31 do not exist, and their values are part of the sum.
__global__ void block_of_20_kernel(const int* x, int* y) {
  int sum = x[threadIdx.x];
  for (int d = 16; d; d /= 2) sum += __shfl_down_sync(0xffffffffu, sum, d);  // HERE
  if (threadIdx.x == 0) y[0] = sum;
}
extern "C" int a_block_of_20(const int* x, int* y) {
  block_of_20_kernel<<<1, 20>>>(x, y);
  return cudaGetLastError();
}

// expect: shuffle_source
// call: largest_of_some(ints(32, 50), zeros_i(1))
// A maximum of -1 and something hides the undefined value of one poison, not of two.
__global__ void largest_kernel(const int* x, int* y) {
  int most = x[threadIdx.x];
  if (threadIdx.x < 24) {
    for (int d = 16; d; d /= 2) most = max(most, __shfl_xor_sync(0x00ffffffu, most, d));  // HERE
  }
  if (threadIdx.x == 0) y[0] = most;
}
extern "C" int largest_of_some(const int* x, int* y) {
  largest_kernel<<<1, 32>>>(x, y);
  return cudaGetLastError();
}

// expect: barrier_divergence
// call: barriers_on_a_line(zeros(64))
__global__ void barriers_kernel(float* y) {
  if (threadIdx.x < 40) { __syncthreads(); } __syncthreads();  // HERE
  y[threadIdx.x] = 1.0f;
}
extern "C" int barriers_on_a_line(float* y) {
  barriers_kernel<<<1, 64>>>(y);
  return cudaGetLastError();
}

// expect: barrier_divergence
// call: barriers_of_a_macro(zeros(64))
#define SYNC_SOME_THEN_ALL(some) if (some) __syncthreads(); __syncthreads()
__global__ void macro_kernel(float* y) {
  y[threadIdx.x] = 1.0f;
  SYNC_SOME_THEN_ALL(threadIdx.x < 40);  // HERE
}
extern "C" int barriers_of_a_macro(float* y) {
  macro_kernel<<<1, 64>>>(y);
  return cudaGetLastError();
}

// expect: barrier_divergence
// call: barriers_of_a_group(zeros(64))
__global__ void group_kernel(float* y) {
  auto block = cooperative_groups::this_thread_block();
  if (threadIdx.x < 40) block.sync();  // OTHER
  block.sync();  // HERE
  y[threadIdx.x] = 1.0f;
}
extern "C" int barriers_of_a_group(float* y) {
  group_kernel<<<1, 64>>>(y);
  return cudaGetLastError();
}
