// What several kernel families share: element types by code, conversion to and from float, sums and maxima of a warp.
//
// Launchers are extern "C" and cannot be templates, so an element type comes as a number (`DTYPE_...`) beside pointers
// to void, and `dispatch_dtype` calls a template with the type behind the number. All arithmetic is in float.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <stdint.h>

constexpr int DTYPE_FLOAT32 = 0, DTYPE_FLOAT16 = 1, DTYPE_BFLOAT16 = 2;
constexpr unsigned FULL_WARP = 0xffffffffu;

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(__half x) { return __half2float(x); }
__device__ __forceinline__ float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }

template <typename T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) { return x; }
template <>
__device__ __forceinline__ __half from_float<__half>(float x) { return __float2half(x); }
template <>
__device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float x) { return __float2bfloat16(x); }

// The sum (or maximum) over the 32 lanes of a warp, in every lane. All lanes must call it.
__device__ __forceinline__ float warp_sum(float value) {
    for (int distance = 16; distance > 0; distance /= 2) {
        value += __shfl_xor_sync(FULL_WARP, value, distance);
    }
    return value;
}

__device__ __forceinline__ float warp_max(float value) {
    for (int distance = 16; distance > 0; distance /= 2) {
        value = fmaxf(value, __shfl_xor_sync(FULL_WARP, value, distance));
    }
    return value;
}

// Call `f` with a null pointer to the element type of `dtype`: f(static_cast<__half*>(nullptr)), for example.
template <typename F>
static int dispatch_dtype(int dtype, F f) {
    switch (dtype) {
        case DTYPE_FLOAT32: return f(static_cast<float*>(nullptr));
        case DTYPE_FLOAT16: return f(static_cast<__half*>(nullptr));
        case DTYPE_BFLOAT16: return f(static_cast<__nv_bfloat16*>(nullptr));
        default: return cudaErrorInvalidValue;
    }
}
