// Fences order what they order and no more.
// Brothers: a fence around an update; no fence before the flag; a fence of the block's scope for another block; data
// written after the flag; data of other threads without a barrier before the fence; a flag that is a plain store; a
// volatile update; no barrier after the wait; the wrong flag.

// expect: race total
// call: fenced_update(randn(256), zeros(1))
__global__ void fenced_update_kernel(const float* x, float* total) {
  float sum = 0.0f;
  for (int i = 0; i < 64; ++i) sum += x[blockIdx.x * 64 + i];
  if (threadIdx.x == 0) {
    __threadfence();
    *total += sum;  // HERE
    __threadfence();
  }
}
extern "C" int fenced_update(const float* x, float* total) {
  fenced_update_kernel<<<4, 32>>>(x, total);
  return cudaGetLastError();
}

// expect: race total
// call: volatile_update(randn(256), zeros(1))
__global__ void volatile_update_kernel(const float* x, volatile float* total) {
  if (threadIdx.x == 0) *total += x[blockIdx.x];  // HERE
  __threadfence();
}
extern "C" int volatile_update(const float* x, float* total) {
  volatile_update_kernel<<<4, 32>>>(x, total);
  return cudaGetLastError();
}

// expect: race partial
// call: ticket_without_fence(randn(128), zeros(4), zeros(1), zeros_i(1))
__global__ void no_fence_kernel(const float* x, float* partial, float* y, int* ticket) {
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = x[blockIdx.x];  // OTHER
    if (atomicAdd(ticket, 1) == 3) {
      for (int b = 0; b < 4; ++b) y[0] += partial[b];  // HERE
      *ticket = 0;
    }
  }
}
extern "C" int ticket_without_fence(const float* x, float* partial, float* y, int* ticket) {
  no_fence_kernel<<<4, 32>>>(x, partial, y, ticket);
  return cudaGetLastError();
}

// expect: race partial
// call: fence_of_the_block(randn(128), zeros(4), zeros(1), zeros_i(1))
__global__ void block_fence_kernel(const float* x, float* partial, float* y, int* ticket) {
  if (threadIdx.x == 0) {
    partial[blockIdx.x] = x[blockIdx.x];  // OTHER
    __threadfence_block();
    if (atomicAdd(ticket, 1) == 3) {
      for (int b = 0; b < 4; ++b) y[0] += partial[b];  // HERE
    }
  }
}
extern "C" int fence_of_the_block(const float* x, float* partial, float* y, int* ticket) {
  block_fence_kernel<<<4, 32>>>(x, partial, y, ticket);
  return cudaGetLastError();
}

// expect: race data
// call: flag_before_data(zeros(4), zeros(4), zeros_i(4))
__global__ void early_flag_kernel(float* data, float* y, volatile int* flag) {
  if (threadIdx.x) return;
  int b = blockIdx.x;
  __threadfence();
  flag[b] = 1;
  data[b] = b;  // OTHER
  __threadfence();
  if (b) {
    while (flag[b - 1] == 0) {}
    __threadfence();
    y[b] = data[b - 1];  // HERE
  }
}
extern "C" int flag_before_data(float* data, float* y, int* flag) {
  early_flag_kernel<<<4, 32>>>(data, y, flag);
  return cudaGetLastError();
}

// expect: race data
// call: no_barrier_before_the_flag(randn(256), zeros(256), zeros(4), zeros_i(1))
// Thread 0 publishes its own element; those of the others are published by nobody.
__global__ void lonely_flag_kernel(const float* x, float* data, float* y, unsigned* count) {
  __shared__ bool last;
  data[blockIdx.x * 64 + threadIdx.x] = x[blockIdx.x * 64 + threadIdx.x];  // OTHER
  if (threadIdx.x == 0) {
    __threadfence();
    last = atomicInc(count, 3) == 3;
  }
  __syncthreads();
  if (last && threadIdx.x < 4) {
    float sum = 0.0f;
    for (int i = 0; i < 64; ++i) sum += data[threadIdx.x * 64 + i];  // HERE
    y[threadIdx.x] = sum;
  }
}
extern "C" int no_barrier_before_the_flag(const float* x, float* data, float* y, int* count) {
  lonely_flag_kernel<<<4, 64>>>(x, data, y, reinterpret_cast<unsigned*>(count));
  return cudaGetLastError();
}

// expect: race data
// call: no_barrier_after_the_wait(zeros(4), zeros(128), zeros_i(4))
// Only thread 0 has waited for the flag.
__global__ void lonely_wait_kernel(float* data, float* y, volatile int* flag) {
  int b = blockIdx.x;
  if (threadIdx.x == 0) {
    data[b] = b;  // OTHER
    __threadfence();
    flag[b] = 1;
    while (b && flag[b - 1] == 0) {}
  }
  if (b) y[b * 32 + threadIdx.x] = data[b - 1];  // HERE
}
extern "C" int no_barrier_after_the_wait(float* data, float* y, int* flag) {
  lonely_wait_kernel<<<4, 32>>>(data, y, flag);
  return cudaGetLastError();
}

// expect: race data
// call: another_flag(zeros(4), zeros(4), zeros_i(8))
__global__ void other_flag_kernel(float* data, float* y, volatile int* flag) {
  if (threadIdx.x) return;
  int b = blockIdx.x;
  data[b] = b;  // OTHER
  __threadfence();
  flag[b] = 1;
  if (b && flag[b + 4] == 0) y[b] = data[b - 1];  // HERE
}
extern "C" int another_flag(float* data, float* y, int* flag) {
  other_flag_kernel<<<4, 32>>>(data, y, flag);
  return cudaGetLastError();
}

// expect: race data
// call: flag_in_a_block_without_fence(zeros(1), zeros(1))
__global__ void no_block_fence_kernel(float* y) {
  __shared__ float data;
  __shared__ int flag;
  if (threadIdx.x == 0) flag = 0;
  __syncthreads();
  if (threadIdx.x == 0) {
    data = 2.0f;  // OTHER
    atomicExch(&flag, 1);
  }
  if (threadIdx.x == 32) {
    while (atomicAdd(&flag, 0) == 0) {}
    y[0] = data;  // HERE
  }
}
extern "C" int flag_in_a_block_without_fence(float* x, float* y) {
  no_block_fence_kernel<<<1, 64>>>(y);
  return cudaGetLastError();
}
