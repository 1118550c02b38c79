// What kernels on tensor cores share: a product of fragments, and how sums become an operand again.
#pragma once
#include <yaie_ptx.cuh>

#include "common.cuh"

// d += a * b: 16 rows of a (two pairs of 8 columns) times 8 columns of b, by the whole warp.
template <typename T>
__device__ void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
template <>
__device__ __forceinline__ void multiply<__half>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    yaie::mma_m16n8k16_f16(d, a, b, d);
}
template <>
__device__ __forceinline__ void multiply<__nv_bfloat16>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    yaie::mma_m16n8k16_bf16(d, a, b, d);
}

// Two floats rounded to 16 bits, the first in the lower half.
template <typename T>
__device__ uint32_t pack(float low, float high);
template <>
__device__ __forceinline__ uint32_t pack<__half>(float low, float high) {
    const __half2 pair = __floats2half2_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
}
template <>
__device__ __forceinline__ uint32_t pack<__nv_bfloat16>(float low, float high) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&pair);
}

// The sums of two blocks of 8 columns, rounded, as the left operand of another product. Of an operand's four registers,
// 0 and 1 hold the rows l / 4 and l / 4 + 8 of the first 8 columns, 2 and 3 of the last 8: exactly the elements that
// the lane has.
template <typename T>
__device__ __forceinline__ void to_operand(const float (&left)[4], const float (&right)[4], uint32_t (&a)[4]) {
    a[0] = pack<T>(left[0], left[1]);
    a[1] = pack<T>(left[2], left[3]);
    a[2] = pack<T>(right[0], right[1]);
    a[3] = pack<T>(right[2], right[3]);
}
