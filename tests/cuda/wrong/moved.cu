// Accesses that a compiler would take out of their loop or merge with another line's, and that keep their own line.

// expect: out_of_bounds x
// call: same_in_each_turn(randn(8), zeros(8), 8, 8)
__global__ void same_kernel(const float* __restrict__ x, float* __restrict__ y, int n, int row) {
  float sum = 0;
  for (int i = 0; i < n; ++i) {
    sum = sum * 2 +
          x[row + threadIdx.x];  // HERE
  }
  y[threadIdx.x] = sum;
}
extern "C" int same_in_each_turn(const float* x, float* y, int n, int row) {
  same_kernel<<<1, 8>>>(x, y, n, row);
  return cudaGetLastError();
}

// expect: out_of_bounds x
// call: in_a_condition(ints(8, 8), zeros_i(16), 8)
__global__ void condition_kernel(const int* x, int* y, int n) {
  int best = 0;
  do
    if (x[threadIdx.x] > best)  // HERE
      best += 2;
    else
      best += 3;
  while (best < n);
  y[threadIdx.x] = best;
}
extern "C" int in_a_condition(const int* x, int* y, int n) {
  condition_kernel<<<1, 16>>>(x, y, n);
  return cudaGetLastError();
}

// expect: out_of_bounds y
// call: same_store(ints(16, 2), zeros_i(8), 1)
__global__ void same_store_kernel(const int* x, int* y, int n) {
  if (n == 1) {
    __syncwarp();
    y[threadIdx.x] = x[threadIdx.x];  // HERE
  } else if (n == 2) {
    __syncthreads();
    y[threadIdx.x] = x[threadIdx.x];
  } else {
    y[threadIdx.x] = x[threadIdx.x];
  }
}
extern "C" int same_store(const int* x, int* y, int n) {
  same_store_kernel<<<1, 16>>>(x, y, n);
  return cudaGetLastError();
}

// expect: race sum
// call: racing_sum(randn(64), zeros(1))
__global__ void racing_kernel(const float* x, float* y) {
  __shared__ float sum[1];
  if (threadIdx.x == 0) sum[0] = 0;
  __syncthreads();
  for (int i = 0; i < 2; ++i)
    sum[0] += x[threadIdx.x + i];  // HERE
  __syncthreads();
  if (threadIdx.x == 0) y[0] = sum[0];
}
extern "C" int racing_sum(const float* x, float* y) {
  racing_kernel<<<1, 32>>>(x, y);
  return cudaGetLastError();
}
