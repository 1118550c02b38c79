// Races between blocks of one launch, which nothing orders.

// expect: race y
// call: sum_all(randn(1000), zeros(1), 1000)
__global__ void sum_kernel(const float* x, float* y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[0] += x[i];  // HERE
}
extern "C" int sum_all(const float* x, float* y, int n) {
  sum_kernel<<<(n + 127) / 128, 128>>>(x, y, n);
  return cudaGetLastError();
}

// expect: race y
// call: block_sums(randn(512), zeros(1))
// Each block has its own sum but writes it to the same place.
__global__ void block_sum_kernel(const float* x, float* y) {
  __shared__ float sum;
  if (threadIdx.x == 0) sum = 0.0f;
  __syncthreads();
  atomicAdd(&sum, x[blockIdx.x * blockDim.x + threadIdx.x]);
  __syncthreads();
  if (threadIdx.x == 0) y[0] = sum;  // HERE
}
extern "C" int block_sums(const float* x, float* y) {
  block_sum_kernel<<<4, 128>>>(x, y);
  return cudaGetLastError();
}

// expect: race y
// call: overlapping(randn(512), zeros(512))
// Blocks write one element more than their own share.
__global__ void overlapping_kernel(const float* x, float* y, int n) {
  int first = blockIdx.x * blockDim.x;
  int i = first + threadIdx.x;
  y[i] = x[i];  // HERE
  if (threadIdx.x == 0 && first + blockDim.x < n) y[first + blockDim.x] = 0.0f;  // OTHER
}
extern "C" int overlapping(const float* x, float* y) {
  overlapping_kernel<<<4, 128>>>(x, y, 512);
  return cudaGetLastError();
}

// expect: race y
// call: stencil_in_place(randn(512))
__global__ void stencil_kernel(float* y, int n) {
  __shared__ float row[130];
  int i = blockIdx.x * 128 + threadIdx.x;
  row[threadIdx.x + 1] = y[i];
  if (threadIdx.x == 0) row[0] = i ? y[i - 1] : 0.0f;            // OTHER
  if (threadIdx.x == 127) row[129] = i + 1 < n ? y[i + 1] : 0.0f;  // OTHER
  __syncthreads();
  y[i] = row[threadIdx.x] + row[threadIdx.x + 2];  // HERE
}
extern "C" int stencil_in_place(float* y) {
  stencil_kernel<<<4, 128>>>(y, 512);
  return cudaGetLastError();
}

// expect: race counter
// call: device_counter(zeros_i(1))
// A __device__ variable is global memory too.
__device__ int counter;
__global__ void counter_kernel(int* y) {
  counter += 1;  // HERE
  if (threadIdx.x == 0 && blockIdx.x == 0) y[0] = 1;
}
extern "C" int device_counter(int* y) {
  counter_kernel<<<2, 32>>>(y);
  return cudaGetLastError();
}

// expect: race count
// call: append_without_atomic(zeros_i(1), zeros_i(64))
__global__ void append_kernel(int* count, int* slots) {
  int slot = count[0];  // HERE
  count[0] = slot + 1;  // OTHER
  slots[slot] = threadIdx.x;
}
extern "C" int append_without_atomic(int* count, int* slots) {
  append_kernel<<<2, 32>>>(count, slots);
  return cudaGetLastError();
}

// expect: race y
// call: plain_store_beside_atomic(zeros(1))
__global__ void plain_store_kernel(float* y) {
  if (blockIdx.x == 0) {
    y[0] = 0.0f;  // HERE
  } else {
    atomicAdd(&y[0], 1.0f);  // OTHER
  }
}
extern "C" int plain_store_beside_atomic(float* y) {
  plain_store_kernel<<<2, 1>>>(y);
  return cudaGetLastError();
}
