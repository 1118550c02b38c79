// Element-wise kernels of many styles.
#include <cuda_runtime.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

// call: vector_add(a=randn(1000), b=randn(1000), c=zeros(1000), n=1000)
// want: c = a + b
__global__ void vector_add_kernel(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) c[i] = a[i] + b[i];
}
extern "C" int vector_add(const float* a, const float* b, float* c, int n, cudaStream_t stream) {
  vector_add_kernel<<<(n + 255) / 256, 256, 0, stream>>>(a, b, c, n);
  return cudaGetLastError();
}

// call: grid_stride(x=randn(5000), y=zeros(5000), scale=1.5, n=5000)
// want: y = x * 1.5
__global__ void grid_stride_kernel(const float* x, float* y, float scale, int64_t n) {
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += int64_t(gridDim.x) * blockDim.x) {
    y[i] = x[i] * scale;
  }
}
extern "C" int grid_stride(const float* x, float* y, float scale, int64_t n) {
  grid_stride_kernel<<<2, 96>>>(x, y, scale, n);
  return cudaGetLastError();
}

// call: float4_copy(x=randn(1003), y=zeros(1003), n=1003)
// want: y = x
__global__ void float4_copy_kernel(const float* x, float* y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n / 4) {
    reinterpret_cast<float4*>(y)[i] = reinterpret_cast<const float4*>(x)[i];
  } else if (i - n / 4 < n % 4) {
    int tail = n / 4 * 4 + i - n / 4;
    y[tail] = __ldg(&x[tail]);
  }
}
extern "C" int float4_copy(const float* x, float* y, int n) {
  dim3 blockDim(64), gridDim((n / 4 + 3 + blockDim.x - 1) / blockDim.x);  // names of its own, as host code likes them
  float4_copy_kernel<<<gridDim, blockDim>>>(x, y, n);
  return cudaGetLastError();
}

// call: silu_mul_half(gate=randn(6, 66).half(), up=randn(6, 66).half(), y=zeros(6, 66).half(), n=396)
// want: y = (F.silu(gate.float()) * up.float()).half()
// tolerance: 2e-3
__global__ void silu_mul_kernel(const __half* gate, const __half* up, __half* y, int pairs) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= pairs) return;
  float2 g = __half22float2(reinterpret_cast<const __half2*>(gate)[i]);
  float2 u = __half22float2(reinterpret_cast<const __half2*>(up)[i]);
  g.x = g.x / (1.0f + __expf(-g.x)) * u.x;
  g.y = g.y / (1.0f + __expf(-g.y)) * u.y;
  reinterpret_cast<__half2*>(y)[i] = __float22half2_rn(g);
}
extern "C" int silu_mul_half(const half* gate, const half* up, half* y, int n) {
  silu_mul_kernel<<<(n / 2 + 127) / 128, 128>>>(gate, up, y, n / 2);
  return cudaGetLastError();
}

// call: axpy_bf16(x=randn(500).bfloat16(), y=randn(500).bfloat16(), a=0.5, n=500)
// want: y = (x.float() * 0.5 + y.float()).bfloat16()
// tolerance: 2e-2
__global__ void axpy_kernel(const __nv_bfloat16* x, __nv_bfloat16* y, float a, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = __float2bfloat16(fmaf(a, __bfloat162float(x[i]), __bfloat162float(y[i])));
}
extern "C" int axpy_bf16(const __nv_bfloat16* x, __nv_bfloat16* y, float a, int n) {
  axpy_kernel<<<(n + 63) / 64, 64>>>(x, y, a, n);
  return cudaGetLastError();
}

// call: apply_lambda(x=randn(77), y=zeros(77), n=77)
// want: y = x * x + 1
template <class Function>
__global__ void apply_kernel(const float* x, float* y, int n, Function f) {
  for (int i = threadIdx.x; i < n; i += blockDim.x) y[i] = f(x[i]);
}
extern "C" int apply_lambda(const float* x, float* y, int n) {
  float one = 1.0f;
  apply_kernel<<<1, 32>>>(x, y, n, [=] __device__(float v) { return v * v + one; });
  return cudaGetLastError();
}

// call: polynomial(x=randn(64), y=zeros(64))
// want: y = 1 + 2 * x + 3 * x * x + 4 * x * x * x
// tolerance: 1e-4
__constant__ float coefficients[4];
__global__ void polynomial_kernel(const float* x, float* y) {
  float sum = 0.0f;
#pragma unroll
  for (int k = 3; k >= 0; --k) sum = sum * x[threadIdx.x] + coefficients[k];
  y[threadIdx.x] = sum;
}
extern "C" int polynomial(const float* x, float* y) {
  float host[4] = {1.0f, 2.0f, 3.0f, 4.0f};
  cudaMemcpyToSymbol(coefficients, host, sizeof host);
  polynomial_kernel<<<1, 64>>>(x, y);
  return cudaGetLastError();
}

// call: three_dimensions(y=zeros_i(4, 3, 2))
// want: y = torch.full((4, 3, 2), 432, dtype=torch.int32)
__global__ void three_dimensions_kernel(int* y) {
  bool chosen = threadIdx.x == 3 && threadIdx.y == 2 && threadIdx.z == 1;
  int block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  if (chosen) y[block] = blockDim.x * 100 + blockDim.y * 10 + blockDim.z;
}
extern "C" int three_dimensions(int* y) {
  three_dimensions_kernel<<<dim3(2, 3, 4), dim3(4, 3, 2)>>>(y);
  return cudaGetLastError();
}

// call: struct_argument(x=randn(10), y=zeros(10))
// want: y = x[torch.tensor([9, 0, 1, 2, 3, 4, 5, 6, 7, 8])] * 2
struct Options {
  int shift, n;
  float scale;
  __device__ int source(int i) const { return (i + n - shift) % n; }
};
namespace kernels {
__global__ void rotate(const float* x, float* y, const Options options) {
  int i = threadIdx.x;
  if (i < options.n) y[i] = x[options.source(i)] * options.scale;
}
}  // namespace kernels
extern "C" {
int struct_argument(const float* x, float* y) {
  Options options{1, 10, 2.0f};
  kernels::rotate<<<dim3(1), dim3(32)>>>(x, y, options);
  return cudaGetLastError();
}
}
