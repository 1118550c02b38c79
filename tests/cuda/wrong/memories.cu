// The wrong memory: host code in device memory, copies in a wrong direction, past a variable's end, never set.
// Brothers: reads, writes, memcpy and library calls of host code; tensors and cudaMalloc; each kind of a copy; memset of
// host memory; __constant__ and __device__ arrays, before and after; every atomic on unset shared memory.

// expect: host_fault y
// call: host_writes(zeros(4))
extern "C" int host_writes(float* y) {
  y[0] = 1.0f;  // HERE
  return 0;
}

// expect: host_fault x
// call: host_reads_a_count(ints(4, 5), zeros(4))
__global__ void fill_kernel(float* y, int n) { y[threadIdx.x] = n; }
extern "C" int host_reads_a_count(const int* x, float* y) {
  fill_kernel<<<1, 4>>>(y, x[3]);  // HERE
  return cudaGetLastError();
}

// expect: host_fault cudaMalloc
// call: host_reads_scratch(zeros(4))
extern "C" int host_reads_scratch(float* y) {
  float* scratch;
  cudaMalloc(&scratch, 16);
  fill_kernel<<<1, 4>>>(scratch, 2);
  float first = scratch[0];  // HERE
  fill_kernel<<<1, 4>>>(y, static_cast<int>(first));
  cudaFree(scratch);
  return cudaGetLastError();
}

// expect: host_fault x
// call: host_copies(randn(64), zeros(4), 64)
#include <cstring>
extern "C" int host_copies(const float* x, float* y, int n) {
  float first[64];
  memcpy(first, x, n * sizeof(float));  // HERE
  fill_kernel<<<1, 4>>>(y, static_cast<int>(first[0]));
  return cudaGetLastError();
}

// expect: copy_direction
// call: to_the_device(randn(4), zeros(4))
extern "C" int to_the_device(const float* x, float* y) {
  float first[4];
  cudaMemcpy(first, x, sizeof first, cudaMemcpyHostToDevice);  // HERE
  return cudaGetLastError();
}

// expect: copy_direction
// call: to_the_host(zeros(4))
extern "C" int to_the_host(float* y) {
  float four[4] = {1, 2, 3, 4};
  cudaMemcpyAsync(y, four, sizeof four, cudaMemcpyDeviceToHost);  // HERE
  return cudaGetLastError();
}

// expect: copy_direction
// call: between_devices(zeros(4))
extern "C" int between_devices(float* y) {
  float four[4] = {1, 2, 3, 4};
  return cudaMemcpy(y, four, sizeof four, cudaMemcpyDeviceToDevice);  // HERE
}

// expect: copy_direction
// call: fills_the_stack(zeros(4))
extern "C" int fills_the_stack(float* y) {
  float four[4];
  cudaMemset(four, 0, sizeof four);  // HERE
  return cudaGetLastError();
}

// expect: out_of_bounds weights
// call: past_a_constant(randn(16), zeros(16))
__constant__ float weights[5];
__constant__ float scale = 2.0f;
__global__ void past_constant_kernel(const float* x, float* y) {
  float sum = 0.0f;
  for (int i = 0; i <= 5; ++i) sum += weights[i] * x[i];  // HERE
  y[threadIdx.x] = sum * scale;
}
extern "C" int past_a_constant(const float* x, float* y) {
  float five[5] = {1, 2, 3, 4, 5};
  cudaMemcpyToSymbol(weights, five, sizeof five);
  past_constant_kernel<<<1, 16>>>(x, y);
  return cudaGetLastError();
}

// expect: out_of_bounds table
// call: before_a_constant(ints(16, 5), zeros_i(16))
__constant__ int table[4] = {4, 3, 2, 1};
__global__ void before_constant_kernel(const int* x, int* y) {
  y[threadIdx.x] = table[x[threadIdx.x] - 1];  // HERE
}
extern "C" int before_a_constant(const int* x, int* y) {
  before_constant_kernel<<<1, 16>>>(x, y);
  return cudaGetLastError();
}

// expect: uninitialised sum
// call: atomic_on_unset(randn(64), zeros(1))
__global__ void unset_sum_kernel(const float* x, float* y) {
  __shared__ float sum;
  atomicAdd(&sum, x[threadIdx.x]);  // HERE
  __syncthreads();
  if (threadIdx.x == 0) y[0] = sum;
}
extern "C" int atomic_on_unset(const float* x, float* y) {
  unset_sum_kernel<<<1, 64>>>(x, y);
  return cudaGetLastError();
}

// expect: uninitialised most
// call: maximum_of_unset(ints(64, 50), zeros_i(1))
// The poison is all ones, so the maximum would even be right.
__global__ void unset_most_kernel(const int* x, int* y) {
  __shared__ int most;
  atomicMax(&most, x[threadIdx.x]);  // HERE
  __syncthreads();
  if (threadIdx.x == 0) y[0] = most;
}
extern "C" int maximum_of_unset(const int* x, int* y) {
  unset_most_kernel<<<1, 64>>>(x, y);
  return cudaGetLastError();
}

// expect: uninitialised bits
// call: bits_of_unset(zeros_i(1))
__global__ void unset_bits_kernel(int* y) {
  __shared__ unsigned bits[2];
  atomicOr(&bits[threadIdx.x % 2], 1u << threadIdx.x / 2);  // HERE
  __syncthreads();
  if (threadIdx.x == 0) y[0] = bits[0] & bits[1];
}
extern "C" int bits_of_unset(int* y) {
  unset_bits_kernel<<<1, 64>>>(y);
  return cudaGetLastError();
}

// expect: uninitialised lock
// call: unset_lock(zeros_i(1))
__global__ void unset_lock_kernel(int* y) {
  __shared__ int lock;
  if (atomicCAS(&lock, 0, 1) == 0) y[0] = 1;  // HERE
}
extern "C" int unset_lock(int* y) {
  unset_lock_kernel<<<1, 1>>>(y);
  return cudaGetLastError();
}

// expect: uninitialised counts
// call: half_set(zeros_i(8))
// A loop that sets one element too few.
__global__ void half_set_kernel(int* y) {
  __shared__ unsigned long long counts[8];
  if (threadIdx.x < 7) counts[threadIdx.x] = 0;
  __syncthreads();
  atomicAdd(&counts[threadIdx.x % 8], 1ull);  // HERE
  __syncthreads();
  if (threadIdx.x < 8) y[threadIdx.x] = counts[threadIdx.x];
}
extern "C" int half_set(int* y) {
  half_set_kernel<<<1, 64>>>(y);
  return cudaGetLastError();
}

// expect: missing_return
// call: forgets_to_return(randn(32), zeros(32))
__device__ float clipped(float v) {  // HERE
  if (v > 0.0f) return v;
}
__global__ void clipped_kernel(const float* x, float* y) { y[threadIdx.x] = clipped(x[threadIdx.x]); }
extern "C" int forgets_to_return(const float* x, float* y) {
  clipped_kernel<<<1, 32>>>(x, y);
  return cudaGetLastError();
}

// expect: missing_return
// call: launcher_without_return(zeros(4))
extern "C" int launcher_without_return(float* y) {  // HERE
  fill_kernel<<<1, 4>>>(y, 1);
}

// expect: out_of_bounds
// call: reference_to_the_host(zeros(4), 2.0)
__global__ void by_reference_kernel(float* y, const float& by) {  // nvcc takes it, and the address is the host's
  y[threadIdx.x] = by;  // HERE
}
extern "C" int reference_to_the_host(float* y, float by) {
  by_reference_kernel<<<1, 4>>>(y, by);
  return cudaGetLastError();
}

// expect: out_of_bounds
// call: pointer_to_the_host(zeros(4))
__global__ void add_offset_kernel(float* y, const float* offsets) {
  y[threadIdx.x] += offsets[threadIdx.x];  // HERE
}
extern "C" int pointer_to_the_host(float* y) {
  float offsets[4] = {1, 2, 3, 4};
  add_offset_kernel<<<1, 4>>>(y, offsets);
  return cudaGetLastError();
}

// expect: out_of_bounds powers
// call: into_the_next_variable(zeros_i(16))
__constant__ int powers[4] = {1, 2, 4, 8};
__device__ int after_the_powers[64] = {1};
__global__ void next_variable_kernel(int* y) { y[threadIdx.x] = powers[threadIdx.x] + after_the_powers[1]; }  // HERE
extern "C" int into_the_next_variable(int* y) {
  next_variable_kernel<<<1, 16>>>(y);
  return cudaGetLastError();
}
