// Races between threads of one block. The marked lines are the two sides that the finding must name.

// expect: race tile
// call: reverse(randn(64), zeros(64))
__global__ void reverse_kernel(const float* x, float* y) {
  __shared__ float tile[64];
  tile[threadIdx.x] = x[threadIdx.x];       // HERE
  y[threadIdx.x] = tile[63 - threadIdx.x];  // OTHER
}
extern "C" int reverse(const float* x, float* y) {
  reverse_kernel<<<1, 64>>>(x, y);
  return cudaGetLastError();
}

// expect: race tile
// call: second_barrier(randn(256), zeros(64), 4)
// The loop fills the tile again while slower threads still read it.
__global__ void second_barrier_kernel(const float* x, float* y, int tiles) {
  __shared__ float tile[64];
  float sum = 0.0f;
  for (int t = 0; t < tiles; ++t) {
    tile[threadIdx.x] = x[t * 64 + threadIdx.x];  // HERE
    __syncthreads();
    for (int i = 0; i < 64; ++i) sum += tile[i];  // OTHER
  }
  y[threadIdx.x] = sum;
}
extern "C" int second_barrier(const float* x, float* y, int tiles) {
  second_barrier_kernel<<<1, 64>>>(x, y, tiles);
  return cudaGetLastError();
}

// expect: race partial
// call: tree_without_barrier(randn(128), zeros(1))
__global__ void tree_kernel(const float* x, float* y) {
  __shared__ float partial[128];
  partial[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  for (int half = 64; half > 0; half /= 2) {
    if (threadIdx.x < half) partial[threadIdx.x] += partial[threadIdx.x + half];  // HERE
  }
  if (threadIdx.x == 0) y[0] = partial[0];
}
extern "C" int tree_without_barrier(const float* x, float* y) {
  tree_kernel<<<1, 128>>>(x, y);
  return cudaGetLastError();
}

// expect: race s
// call: warp_synchronous(randn(32), zeros(1))
// Written for cards before 2017, on which a warp moved in step.
__global__ void warp_synchronous_kernel(const float* x, float* y) {
  __shared__ volatile float s[32];
  s[threadIdx.x] = x[threadIdx.x];
  __syncwarp();
  if (threadIdx.x < 16) {
    s[threadIdx.x] += s[threadIdx.x + 16];  // HERE
    s[threadIdx.x] += s[threadIdx.x + 8];   // OTHER
  }
  __syncwarp();
  if (threadIdx.x == 0) y[0] = s[0];
}
extern "C" int warp_synchronous(const float* x, float* y) {
  warp_synchronous_kernel<<<1, 32>>>(x, y);
  return cudaGetLastError();
}

// expect: race histogram
// call: histogram_plain(ints(256, 8), zeros_i(8))
__global__ void histogram_kernel(const int* x, int* counts) {
  __shared__ int histogram[8];
  if (threadIdx.x < 8) histogram[threadIdx.x] = 0;
  __syncthreads();
  histogram[x[threadIdx.x]] += 1;  // HERE
  __syncthreads();
  if (threadIdx.x < 8) counts[threadIdx.x] = histogram[threadIdx.x];
}
extern "C" int histogram_plain(const int* x, int* counts) {
  histogram_kernel<<<1, 256>>>(x, counts);
  return cudaGetLastError();
}

// expect: race total
// call: read_before_sum(randn(128), zeros(128))
__global__ void read_before_sum_kernel(const float* x, float* y) {
  __shared__ float total;
  if (threadIdx.x == 0) total = 0.0f;
  __syncthreads();
  atomicAdd(&total, x[threadIdx.x]);  // HERE
  y[threadIdx.x] = total;             // OTHER
}
extern "C" int read_before_sum(const float* x, float* y) {
  read_before_sum_kernel<<<1, 128>>>(x, y);
  return cudaGetLastError();
}

// expect: race queries
// call: one_vector_for_all(randn(4, 8), zeros(4))
// Every thread puts its own query into the one shared vector.
__global__ void one_vector_kernel(const float* q, float* y) {
  __shared__ float queries[8];
  for (int d = 0; d < 8; ++d) queries[d] = q[threadIdx.x * 8 + d];  // HERE
  float sum = 0.0f;
  for (int d = 0; d < 8; ++d) sum += queries[d];
  y[threadIdx.x] = sum;
}
extern "C" int one_vector_for_all(const float* q, float* y) {
  one_vector_kernel<<<1, 4>>>(q, y);
  return cudaGetLastError();
}

// expect: race y
// call: neighbours_in_place(randn(64))
__global__ void neighbours_kernel(float* y) {
  float left = threadIdx.x ? y[threadIdx.x - 1] : 0.0f;  // OTHER
  y[threadIdx.x] += left;                                // HERE
}
extern "C" int neighbours_in_place(float* y) {
  neighbours_kernel<<<1, 64>>>(y);
  return cudaGetLastError();
}

// expect: race bytes
// call: byte_neighbours(zeros_b(64))
// Neighbouring bytes are no race; the same byte written twice is.
__global__ void byte_kernel(unsigned char* y) {
  __shared__ unsigned char bytes[64];
  bytes[threadIdx.x] = 1;
  __syncthreads();
  bytes[threadIdx.x / 2] = threadIdx.x;  // HERE
  __syncthreads();
  y[threadIdx.x] = bytes[threadIdx.x];
}
extern "C" int byte_neighbours(unsigned char* y) {
  byte_kernel<<<1, 64>>>(y);
  return cudaGetLastError();
}

// expect: race tile
// call: half_tile(zeros_h(64))
#include <cuda_fp16.h>
__global__ void half_tile_kernel(__half* y) {
  __shared__ __half tile[64];
  tile[threadIdx.x] = __float2half(threadIdx.x);  // HERE
  y[threadIdx.x] = tile[threadIdx.x ^ 1];         // OTHER
}
extern "C" int half_tile(__half* y) {
  half_tile_kernel<<<1, 64>>>(y);
  return cudaGetLastError();
}
