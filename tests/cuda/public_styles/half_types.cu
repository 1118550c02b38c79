// half, half2 and bfloat16 as people compute with them: operators, comparisons, intrinsics, conversions.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

// call: operators(x=h(64), y=h(64))
// want: x = -((x + y) * y - y / h2) + h1
__global__ void half_operators(half *x, const half *y) {
  int i = threadIdx.x;
  half a = x[i];
  a += y[i];
  a *= y[i];
  a -= y[i] / __float2half(2.0f);
  a = -a;
  a = a + half(1.0f);
  x[i] = a;
}
extern "C" int operators(half *x, const half *y) { half_operators<<<1, 64>>>(x, y); return cudaGetLastError(); }

// call: compares(x=h(64), y=h(64), out=zeros_i(64))
// want: out = ((x < y).int() + 2 * (x > y).int() + 4 * (x == y).int() + 8 * (x >= y).int() + 16 * (x != y).int() + 32 * (x <= y).int())
__global__ void half_compares(const __half *x, const __half *y, int *out) {
  __half a = x[threadIdx.x], b = y[threadIdx.x];
  out[threadIdx.x] = (a < b) + 2 * (a > b) + 4 * (a == b) + 8 * (a >= b) + 16 * (a != b) + 32 * __hle(a, b);
}
extern "C" int compares(const __half *x, const __half *y, int *out) { half_compares<<<1, 64>>>(x, y, out); return cudaGetLastError(); }

// call: pairs(x=h(64), y=h(64))
// want: x = (x + y) * y - y
__global__ void half2_operators(half2 *x, const half2 *y) {
  half2 a = x[threadIdx.x], b = y[threadIdx.x];
  a += b;
  a = a * b;
  a -= b;
  x[threadIdx.x] = a;
}
extern "C" int pairs(half *x, const half *y) {
  half2_operators<<<1, 32>>>(reinterpret_cast<half2 *>(x), reinterpret_cast<const half2 *>(y));
  return cudaGetLastError();
}

// call: pair_intrinsics(x=h(64), y=h(64), z=zeros_h(64))
// want: z = torch.addcmul(y.float(), x.float(), y.float()).half()
__global__ void half2_fma(const __half2 *x, const __half2 *y, __half2 *z) {
  __half2 a = x[threadIdx.x], b = y[threadIdx.x];
  __half2 c = __hfma2(a, b, b);
  z[threadIdx.x] = __halves2half2(__low2half(c), __high2half(c));
}
extern "C" int pair_intrinsics(const half *x, const half *y, half *z) {
  half2_fma<<<1, 32>>>((const __half2 *)x, (const __half2 *)y, (__half2 *)z);
  return cudaGetLastError();
}

// call: roots(x=h(64).abs() + h1, out=zeros_h(64))
// want: out = (x.float().sqrt().half() + x.float().rsqrt().half()) + (1 / x.float()).half()
__global__ void half_math(const half *x, half *out) {
  half v = x[threadIdx.x];
  out[threadIdx.x] = hsqrt(v) + hrsqrt(v) + hrcp(v);
}
extern "C" int roots(const half *x, half *out) { half_math<<<1, 64>>>(x, out); return cudaGetLastError(); }

// call: rounding(x=h(64) * 4, out=torch.zeros(3, 64, dtype=torch.float16))
// want: out = torch.stack([x.floor(), x.ceil(), x.trunc()])
__global__ void half_rounding(const half *x, half *out) {
  half v = x[threadIdx.x];
  out[threadIdx.x] = hfloor(v), out[64 + threadIdx.x] = hceil(v), out[128 + threadIdx.x] = htrunc(v);
}
extern "C" int rounding(const half *x, half *out) { half_rounding<<<1, 64>>>(x, out); return cudaGetLastError(); }

// call: brain(x=b(64), y=b(64), out=zeros_i(64))
// want: x = (x + y) * y - y; out = (x0 > y).int()
__global__ void bf16_operators(__nv_bfloat16 *x, const __nv_bfloat16 *y, int *out) {
  __nv_bfloat16 a = x[threadIdx.x], b = y[threadIdx.x];
  out[threadIdx.x] = a > b;
  a += b;
  a = a * b;
  a = a - b;
  x[threadIdx.x] = -(-a);
}
extern "C" int brain(__nv_bfloat16 *x, const __nv_bfloat16 *y, int *out) { bf16_operators<<<1, 64>>>(x, y, out); return cudaGetLastError(); }

// call: brain_pairs(x=b(64), y=b(64))
// want: x = x + y
__global__ void bf162(__nv_bfloat162 *x, const __nv_bfloat162 *y) { x[threadIdx.x] = __hadd2(x[threadIdx.x], y[threadIdx.x]); }
extern "C" int brain_pairs(__nv_bfloat16 *x, const __nv_bfloat16 *y) {
  bf162<<<1, 32>>>((__nv_bfloat162 *)x, (const __nv_bfloat162 *)y);
  return cudaGetLastError();
}

// call: mixed(x=h(64), out=zeros(64))
// want: out = x.float() * 2 + 1
template <typename T> __device__ float to_float(T v) { return static_cast<float>(v); }
template <> __device__ float to_float<half>(half v) { return __half2float(v); }
template <typename T> __global__ void converts(const T *x, float *out) {
  out[threadIdx.x] = to_float(x[threadIdx.x]) * 2 + 1;
}
extern "C" int mixed(const half *x, float *out) { converts<half><<<1, 64>>>(x, out); return cudaGetLastError(); }

// call: sum_of_halves(x=h(64), out=zeros(1))
// want: out = x.float().sum()[None]
// tolerance: 1e-4
__global__ void half_sum(const half *x, float *out) {
  const half2 *pairs = reinterpret_cast<const half2 *>(x);
  float2 v = __half22float2(pairs[threadIdx.x]);
  float s = v.x + v.y;
  for (int o = 16; o; o >>= 1) s += __shfl_down_sync(0xffffffff, s, o);
  if (!threadIdx.x) *out = s;
}
extern "C" int sum_of_halves(const half *x, float *out) { half_sum<<<1, 32>>>(x, out); return cudaGetLastError(); }

// call: shuffled_halves(x=h(32), y=zeros_h(32))
// want: y = x.flip(0)
__global__ void half_shuffle(const half *x, half *y) { y[threadIdx.x] = __shfl_xor_sync(0xffffffff, x[threadIdx.x], 31); }
extern "C" int shuffled_halves(const half *x, half *y) { half_shuffle<<<1, 32>>>(x, y); return cudaGetLastError(); }

// call: atomic_halves(out=zeros_h(2))
// want: out = torch.tensor([32.0, 32.0], dtype=torch.float16)
__global__ void half_atomics(half *out) {
  atomicAdd(out, __float2half(1.0f));
  if (threadIdx.x == 0) atomicAdd(out + 1, __int2half_rn(32));
}
extern "C" int atomic_halves(half *out) { half_atomics<<<1, 32>>>(out); return cudaGetLastError(); }
