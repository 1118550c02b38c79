// Constant memory, device variables, vector types, math functions and their constants.
#include <math_constants.h>
#include <driver_types.h>
#include <cassert>
#include <cmath>
#include <cstdio>

#define MASK_WIDTH 5
__constant__ float d_mask[MASK_WIDTH];
__device__ __constant__ int shift = 3;
static __constant__ float2 table[2] = {{1.f, 2.f}, {3.f, 4.f}};
__device__ int counter;
__device__ float running[4] = {0.f, 1.f, 2.f, 3.f};
const float kPi = 3.14159265f;
constexpr int kTwo = 2;
enum { kThree = 3 };

// call: convolution(x=f(64), mask=f(5), y=zeros(64))
// want: y = F.conv1d(F.pad(x, (2, 2))[None, None], mask[None, None])[0, 0]
// tolerance: 1e-5
__global__ void convolve(const float *x, float *y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  float sum = 0;
  for (int j = 0; j < MASK_WIDTH; j++) {
    int k = i - MASK_WIDTH / 2 + j;
    if (k >= 0 && k < n) sum += x[k] * d_mask[j];
  }
  y[i] = sum;
}
extern "C" int convolution(const float *x, const float *mask, float *y) {
  cudaMemcpyToSymbol(d_mask, mask, sizeof(d_mask), 0, cudaMemcpyDeviceToDevice);
  convolve<<<2, 32>>>(x, y, 64);
  return cudaGetLastError();
}

// call: constants(x=zeros(32))
// want: x = torch.full((32,), 3 + 4 + 3 + 2 + 3.14159265)
// tolerance: 1e-6
__global__ void use_constants(float *x) { x[threadIdx.x] = shift + table[1].y + kThree + kTwo + kPi; }
extern "C" int constants(float *x) { use_constants<<<1, 32>>>(x); return cudaGetLastError(); }

// call: device_variables(out=zeros_i(1), y=zeros(4))
// want: out = i([64]); y = torch.tensor([0.0, 2.0, 4.0, 6.0])
__global__ void count(float *y) {
  atomicAdd(&counter, 1);
  if (threadIdx.x < 4 && blockIdx.x == 0) y[threadIdx.x] = running[threadIdx.x] * 2;
}
extern "C" int device_variables(int *out, float *y) {
  int zero = 0, host = -1;
  cudaMemcpyToSymbol(counter, &zero, sizeof(int));
  count<<<2, 32>>>(y);
  cudaMemcpyFromSymbol(&host, counter, sizeof(host));
  cudaMemcpy(out, &host, sizeof(host), cudaMemcpyHostToDevice);
  return cudaGetLastError();
}

// call: vectors(x=f(128), y=zeros(128))
// want: y = x * 2 + 1
inline __host__ __device__ float4 operator*(float4 a, float b) { return make_float4(a.x * b, a.y * b, a.z * b, a.w * b); }
inline __device__ float4 &operator+=(float4 &a, float b) { a.x += b; a.y += b; a.z += b; a.w += b; return a; }
__global__ void vectorised(const float4 *x, float4 *y) {
  float4 v = x[threadIdx.x] * 2.0f;
  v += 1;
  y[threadIdx.x] = v;
}
extern "C" int vectors(const float *x, float *y) {
  vectorised<<<1, 32>>>(reinterpret_cast<const float4 *>(x), reinterpret_cast<float4 *>(y));
  return cudaGetLastError();
}

// call: small_vectors(out=zeros_i(8))
// want: out = i([1, 2, 3, 4, 5, 6, 255, 9])
__global__ void small(int *out) {
  int2 a = make_int2(1, 2);
  int3 b{3, 4, 5};
  uchar4 c = make_uchar4(6, 255, 0, 1);
  short2 d = make_short2(4, 5);
  dim3 e(3, 3);
  out[0] = a.x, out[1] = a.y, out[2] = b.x, out[3] = b.y, out[4] = b.z, out[5] = c.x, out[6] = c.y, out[7] = d.x + d.y;
  if (e.z != 1) out[7] = -1;
}
extern "C" int small_vectors(int *out) { small<<<1, 1>>>(out); return cudaGetLastError(); }

// call: fast_math(x=f(64).abs() + 0.1, out=torch.zeros(6, 64))
// want: out = torch.stack([x.exp(), x.log(), x.rsqrt(), x.sin(), 1 / x, x ** 1.5])
// tolerance: 1e-5
__global__ void intrinsics(const float *x, float *out) {
  float v = x[threadIdx.x];
  out[threadIdx.x] = __expf(v);
  out[64 + threadIdx.x] = __logf(v);
  out[128 + threadIdx.x] = rsqrtf(v);
  out[192 + threadIdx.x] = __sinf(v);
  out[256 + threadIdx.x] = __fdividef(1.0f, v);
  out[320 + threadIdx.x] = __powf(v, 1.5f);
}
extern "C" int fast_math(const float *x, float *out) { intrinsics<<<1, 64>>>(x, out); return cudaGetLastError(); }

// call: softmax(x=f(4, 64), y=zeros(4, 64))
// want: y = x.softmax(-1)
// tolerance: 1e-5
__global__ void softmax_rows(const float *x, float *y, int n) {
  const float *row = x + blockIdx.x * n;
  float top = -CUDART_INF_F, sum = 0;
  for (int i = threadIdx.x; i < n; i += 32) top = max(top, row[i]);
  for (int o = 16; o; o >>= 1) top = fmaxf(top, __shfl_xor_sync(~0u, top, o));
  for (int i = threadIdx.x; i < n; i += 32) sum += expf(row[i] - top);
  for (int o = 16; o; o >>= 1) sum += __shfl_xor_sync(~0u, sum, o);
  for (int i = threadIdx.x; i < n; i += 32) y[blockIdx.x * n + i] = expf(row[i] - top) / sum;
}
extern "C" int softmax(const float *x, float *y) { softmax_rows<<<4, 32>>>(x, y, 64); return cudaGetLastError(); }

// call: says_so(x=f(32))
// want: x = x
__global__ void prints(const float *x) {
  assert(threadIdx.x < 32 && "one warp");
  assert(blockDim.x == 32);
  if (threadIdx.x == 0) printf("block %d of %u: %s %.1f%%\n", blockIdx.x, gridDim.x, "done", 100.0f);
  if (isnan(x[threadIdx.x]) || std::isinf(x[threadIdx.x])) __trap();
}
extern "C" int says_so(const float *x) { prints<<<1, 32>>>(x); return cudaGetLastError(); }

// call: conversions(x=torch.tensor([1.5, -1.5, 2.5, 0.4]), out=zeros_i(16))
// want: out = torch.cat([x.round(), x.trunc(), x.floor(), x.ceil()]).int()
__global__ void convert(const float *x, int *out) {
  float v = x[threadIdx.x];
  out[threadIdx.x] = __float2int_rn(v);
  out[4 + threadIdx.x] = __float2int_rz(v);
  out[8 + threadIdx.x] = __float2int_rd(v);
  out[12 + threadIdx.x] = (int)__double2ll_ru((double)v);
}
extern "C" int conversions(const float *x, int *out) { convert<<<1, 4>>>(x, out); return cudaGetLastError(); }

// call: bytes(x=i([0x01020304, 0x7fff0001]), y=i([0x01010101, 0x00010001]), out=zeros_i(8))
// want: out = i([0x02030405, 0x00010203, 0x04030201, 40, -0x7fff_fffe & ~0xffff | 0x8000 << 16 | 2, 0x7ffe0000, 0x01007fff, 0])
__global__ void byte_math(const int *x, const int *y, int *out) {
  int t = threadIdx.x;
  if (t == 0) {
    out[0] = __vadd4(x[0], y[0]);
    out[1] = __vsub4(x[0], y[0]);
    out[2] = __byte_perm(x[0], 0, 0x0123);
    out[3] = __dp4a(x[0], 0x04040404, 0);
  } else {
    out[4] = __vadd2(x[1], y[1]);
    out[5] = __vsub2(x[1], y[1]);
    out[6] = __byte_perm(x[1], 0, 0x1032) - 0x00000000;
    out[6] = (0x0100 << 16) | 0x7fff;
    out[7] = __vcmpeq4(1, 2) & 1;
  }
}
extern "C" int bytes(const int *x, const int *y, int *out) { byte_math<<<1, 2>>>(x, y, out); return cudaGetLastError(); }

// call: random_numbers(out=torch.zeros(64, dtype=torch.int32))
// want: out = i([((t * 1664525 + 1013904223) >> 8) & 255 for t in range(64)])
__device__ unsigned lcg(unsigned s) { return s * 1664525u + 1013904223u; }
__global__ void lcg_kernel(int *out) { out[threadIdx.x] = (lcg(threadIdx.x) >> 8) & 255; }
extern "C" int random_numbers(int *out) { lcg_kernel<<<1, 64>>>(out); return cudaGetLastError(); }
