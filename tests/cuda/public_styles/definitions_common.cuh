#ifndef DEFINITIONS_COMMON_CUH
#define DEFINITIONS_COMMON_CUH
#include <cstdint>
namespace {
constexpr float kTen = 10.0f;
__device__ __forceinline__ float plus_ten(float v) { return v + kTen; }
__global__ void from_common(float *x) { x[threadIdx.x] = plus_ten(x[threadIdx.x]); }
inline int launch_common(float *x) {
  from_common<<<1, 8>>>(x);
  return cudaGetLastError();
}
}  // namespace
#endif
