// The style of university courses and first blog posts: one kernel for one idea, error-checking macros, host code beside it.
#include <cuda_runtime.h>
#include <stdio.h>
#include <stdlib.h>
#include <iostream>
#include <vector>

#define N 256
#define THREADS_PER_BLOCK 128
#define CUDA_CHECK(call)                                                                      \
  do {                                                                                        \
    cudaError_t err = (call);                                                                 \
    if (err != cudaSuccess) {                                                                 \
      fprintf(stderr, "CUDA error %s at %s:%d\n", cudaGetErrorString(err), __FILE__, __LINE__); \
      return (int)err;                                                                        \
    }                                                                                         \
  } while (0)
#define DIV_UP(a, b) (((a) + (b)-1) / (b))

// call: hello_add(a=f(256), b=f(256), c=zeros(256))
// want: c = a + b
__global__ void add(float *a, float *b, float *c) {
  int index = threadIdx.x + blockIdx.x * blockDim.x;
  c[index] = a[index] + b[index];
}
extern "C" int hello_add(float *a, float *b, float *c) {
  add<<<N/THREADS_PER_BLOCK,THREADS_PER_BLOCK>>>(a, b, c);
  CUDA_CHECK(cudaGetLastError());
  CUDA_CHECK(cudaDeviceSynchronize());
  return 0;
}

// call: with_device_copies(a=f(100), out=zeros(100), n=100)
// want: out = 2 * a + 1
__global__ void affine(const float *x, float *y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n)
    return;
  y[i] = 2 * x[i] + 1;
}
extern "C" int with_device_copies(const float *a, float *out, int n) {
  float *d_x = NULL, *d_y = NULL;
  size_t bytes = n * sizeof(float);
  CUDA_CHECK(cudaMalloc((void **)&d_x, bytes));
  CUDA_CHECK(cudaMalloc(&d_y, bytes));
  CUDA_CHECK(cudaMemcpy(d_x, a, bytes, cudaMemcpyDeviceToDevice));
  dim3 blockDim(64), gridDim((n + blockDim.x - 1) / blockDim.x);
  affine<<<gridDim, blockDim>>>(d_x, d_y, n);
  CUDA_CHECK(cudaPeekAtLastError());
  CUDA_CHECK(cudaMemcpy(out, d_y, bytes, cudaMemcpyDeviceToDevice));
  cudaFree(d_x);
  cudaFree(d_y);
  return cudaSuccess;
}

// call: through_host_vectors(out=zeros(64), n=64)
// want: out = torch.arange(64).float() ** 2
__global__ void square_in_place(float *x, int n) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += blockDim.x * gridDim.x) x[i] *= x[i];
}
extern "C" int through_host_vectors(float *out, int n) {
  std::vector<float> host(n);
  for (int i = 0; i < n; ++i) host[i] = static_cast<float>(i);
  float *device;
  cudaMalloc(&device, n * sizeof(float));
  cudaMemcpy(device, host.data(), n * sizeof(float), cudaMemcpyHostToDevice);
  square_in_place<<<1, 32>>>(device, n);
  cudaMemcpy(host.data(), device, n * sizeof(float), cudaMemcpyDeviceToHost);
  cudaMemcpy(out, host.data(), n * sizeof(float), cudaMemcpyHostToDevice);
  cudaFree(device);
  return cudaGetLastError();
}

// call: matrix_add(a=f(30, 50), b=f(30, 50), c=zeros(30, 50), rows=30, cols=50)
// want: c = a + b
__global__ void MatAdd(const float *A, const float *B, float *C, int rows, int cols)
{
    int col = blockIdx.x * blockDim.x + threadIdx.x;
    int row = blockIdx.y * blockDim.y + threadIdx.y;
    if (row < rows && col < cols)
        C[row * cols + col] = A[row * cols + col] + B[row * cols + col];
}
extern "C" int matrix_add(const float *a, const float *b, float *c, int rows, int cols) {
  dim3 threadsPerBlock(16, 16);
  dim3 numBlocks(DIV_UP(cols, threadsPerBlock.x), DIV_UP(rows, threadsPerBlock.y));
  MatAdd<<<numBlocks, threadsPerBlock>>>(a, b, c, rows, cols);
  return cudaGetLastError();
}

// call: stencil(x=f(512), y=zeros(512))
// want: y = F.conv1d(F.pad(x, (3, 3))[None, None], torch.ones(1, 1, 7))[0, 0]
// tolerance: 1e-5
#define RADIUS 3
#define BLOCK_SIZE 64
__global__ void stencil_1d(const float *in, float *out, int n) {
  __shared__ float temp[BLOCK_SIZE + 2 * RADIUS];
  int gindex = threadIdx.x + blockIdx.x * blockDim.x;
  int lindex = threadIdx.x + RADIUS;
  temp[lindex] = in[gindex];
  if (threadIdx.x < RADIUS) {
    temp[lindex - RADIUS] = gindex >= RADIUS ? in[gindex - RADIUS] : 0.0f;
    temp[lindex + BLOCK_SIZE] = gindex + BLOCK_SIZE < n ? in[gindex + BLOCK_SIZE] : 0.0f;
  }
  __syncthreads();
  float result = 0;
  for (int offset = -RADIUS; offset <= RADIUS; offset++) result += temp[lindex + offset];
  out[gindex] = result;
}
extern "C" int stencil(const float *x, float *y) {
  stencil_1d <<< 512 / BLOCK_SIZE, BLOCK_SIZE >>> (x, y, 512);
  return cudaGetLastError();
}

// call: dot_product(a=f(512), b=f(512), out=zeros(1))
// want: out = (a @ b)[None]
// tolerance: 1e-4
__global__ void dot(float *a, float *b, float *c) {
  __shared__ float cache[THREADS_PER_BLOCK];
  int tid = threadIdx.x + blockIdx.x * blockDim.x;
  int cacheIndex = threadIdx.x;
  float temp = 0;
  while (tid < 512) {
    temp += a[tid] * b[tid];
    tid += blockDim.x * gridDim.x;
  }
  cache[cacheIndex] = temp;
  __syncthreads();
  int i = blockDim.x / 2;
  while (i != 0) {
    if (cacheIndex < i) cache[cacheIndex] += cache[cacheIndex + i];
    __syncthreads();
    i /= 2;
  }
  if (cacheIndex == 0) atomicAdd(c, cache[0]);
}
extern "C" int dot_product(float *a, float *b, float *out) {
  dot<<<2, THREADS_PER_BLOCK>>>(a, b, out);
  return cudaGetLastError();
}

// call: timed(x=f(128), y=zeros(128))
// want: y = -x
__global__ void negate(const float *x, float *y) { y[threadIdx.x] = -x[threadIdx.x]; }
extern "C" int timed(const float *x, float *y) {
  cudaEvent_t start, stop;
  cudaEventCreate(&start);
  cudaEventCreate(&stop);
  cudaStream_t stream;
  cudaStreamCreate(&stream);
  cudaEventRecord(start, stream);
  negate<<<1, 128, 0, stream>>>(x, y);
  cudaEventRecord(stop, stream);
  cudaEventSynchronize(stop);
  float ms = -1;
  cudaEventElapsedTime(&ms, start, stop);
  if (ms < 0) std::cout << "time runs backwards" << std::endl;
  cudaStreamDestroy(stream);
  cudaEventDestroy(start);
  cudaEventDestroy(stop);
  return ms < 0;
}
