// Kernels that do not end, or end badly, and launches that a card refuses.
#include <cassert>

// expect: endless_loop
// call: never_counts(zeros(32))
__global__ void never_counts_kernel(float* y) {
  int i = 0;
  float v = 1.0f;
  while (i < 10) v *= 1.0001f;  // HERE
  y[threadIdx.x] = v;
}
extern "C" int never_counts(float* y) {
  never_counts_kernel<<<2, 32>>>(y);
  return cudaGetLastError();
}

// expect: endless_loop
// call: waits_for_a_later_block(zeros_i(1))
__global__ void later_block_kernel(volatile int* flag) {
  if (blockIdx.x == 0) {
    while (flag[0] == 0) {}  // HERE
  } else {
    flag[0] = 1;
  }
}
extern "C" int waits_for_a_later_block(int* flag) {
  later_block_kernel<<<2, 1>>>(flag);
  return cudaGetLastError();
}

// expect: endless_loop
// call: lock_never_freed(zeros_i(1))
__global__ void lock_kernel(int* lock) {
  while (atomicCAS(lock, 0, 1) != 0) {}  // HERE
}
extern "C" int lock_never_freed(int* lock) {
  lock_kernel<<<1, 2>>>(lock);
  return cudaGetLastError();
}

// expect: endless_loop
// call: stride_of_zero(zeros(64), 64, 0)
__global__ void stride_of_zero_kernel(float* y, int n, int stride) {
  for (int i = threadIdx.x; i < n; i += stride) {
    y[i] += 1.0f;  // HERE
  }
}
extern "C" int stride_of_zero(float* y, int n, int stride) {
  stride_of_zero_kernel<<<1, 32>>>(y, n, stride);
  return cudaGetLastError();
}

// expect: endless_loop
// call: barrier_for_ever(zeros(64))
__global__ void barrier_for_ever_kernel(float* y) {
  for (unsigned i = 10; i >= 0; --i) {
    y[threadIdx.x] += 1.0f;  // HERE
    __syncthreads();
  }
}
extern "C" int barrier_for_ever(float* y) {
  barrier_for_ever_kernel<<<1, 64>>>(y);
  return cudaGetLastError();
}

// expect: stack_overflow
// call: endless_recursion(zeros_i(1), 1)
__device__ __noinline__ int descend(int depth, volatile int* y) {
  int local[64];
  local[depth & 63] = depth;                              // HERE
  return descend(depth + 1, y) + local[depth & 63] + y[0];  // HERE
}
__global__ void recursion_kernel(int* y, int depth) { y[0] = descend(depth, y); }
extern "C" int endless_recursion(int* y, int depth) {
  recursion_kernel<<<1, 1>>>(y, depth);
  return cudaGetLastError();
}

// expect: division_by_zero
// call: no_heads(zeros_i(32), 0)
__global__ void no_heads_kernel(int* y, int num_kv_heads) {
  y[threadIdx.x] = threadIdx.x / num_kv_heads;  // HERE
}
extern "C" int no_heads(int* y, int num_kv_heads) {
  no_heads_kernel<<<1, 32>>>(y, num_kv_heads);
  return cudaGetLastError();
}

// expect: assert
// call: wrong_assumption(zeros_i(33))
__global__ void assumption_kernel(int* y, int n) {
  assert(n % 32 == 0);  // HERE
  y[threadIdx.x] = n;
}
extern "C" int wrong_assumption(int* y) {
  assumption_kernel<<<1, 32>>>(y, 33);
  return cudaGetLastError();
}

// expect: bad_launch
// call: too_many_threads(zeros(2048))
__global__ void ones_kernel(float* y) { y[threadIdx.x] = 1.0f; }
extern "C" int too_many_threads(float* y) {
  ones_kernel<<<1, 2048>>>(y);  // HERE
  return cudaGetLastError();
}

// expect: bad_launch
// call: empty_grid(zeros(10), 0)
extern "C" int empty_grid(float* y, int n) {
  ones_kernel<<<(n + 31) / 32, 32>>>(y);  // HERE
  return cudaGetLastError();
}

// expect: bad_launch
// call: too_much_shared(zeros(32))
// 53,248 bytes without opting in.
__global__ void big_tile_kernel(float* y) {
  extern __shared__ float tile[];
  tile[threadIdx.x] = 1.0f;
  y[threadIdx.x] = tile[threadIdx.x];
}
extern "C" int too_much_shared(float* y) {
  big_tile_kernel<<<1, 32, 53248>>>(y);  // HERE
  return cudaGetLastError();
}

// expect: bad_launch
// call: static_shared_too_big(zeros(32))
__global__ void static_kernel(float* y) {
  __shared__ float tile[128][128];  // HERE
  tile[0][threadIdx.x] = 1.0f;
  y[threadIdx.x] = tile[0][threadIdx.x];
}
extern "C" int static_shared_too_big(float* y) {
  static_kernel<<<1, 32>>>(y);
  return cudaGetLastError();
}

// expect: bad_launch
// call: deep_block(zeros(128))
extern "C" int deep_block(float* y) {
  ones_kernel<<<1, dim3(1, 1, 128)>>>(y);  // HERE
  return cudaGetLastError();
}

// expect: host_fault
// call: host_touches_nothing(zeros(4))
extern "C" int host_touches_nothing(float* y) {
  volatile float* nowhere = nullptr;
  nowhere[0] = y[0];  // HERE
  return 0;
}

// expect: exit
// call: ends_in_a_kernel(zeros(4))
__global__ void exit_kernel(float* y) {
  y[threadIdx.x] = 1.0f;
  if (threadIdx.x == 2) exit(3);  // HERE
}
extern "C" int ends_in_a_kernel(float* y) {
  exit_kernel<<<1, 4>>>(y);
  return cudaGetLastError();
}

// expect: exit
// call: ends_in_the_launcher(zeros(4))
extern "C" int ends_in_the_launcher(float* y) {
  if (y == nullptr) return 1;
  std::abort();  // HERE
}
