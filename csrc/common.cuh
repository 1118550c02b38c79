// What several kernel families share: element types by code, conversion to and from float, sums and maxima of a warp.
//
// Launchers are extern "C" and cannot be templates, so an element type comes as a number (`DTYPE_...`) beside pointers
// to void, and `dispatch_dtype` calls a template with the type behind the number. All arithmetic is in float.
//
// Two build options compile fewer instances of the templates, and so compile faster. A launcher refuses what was left
// out with cudaErrorInvalidValue, as it refuses any element type or head_dim that it does not take.
//     -DYAIE_DTYPES=n           element types, the sum of 1 << DTYPE_...: 1 for float32 alone; 7, all, is the default
//     -DYAIE_MAX_HEAD_DIM=n     the largest head_dim of the kernels that have an instance per size; 256 is the default
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <stdint.h>

#include <type_traits>

#ifndef YAIE_DTYPES
#define YAIE_DTYPES 7
#endif
#ifndef YAIE_MAX_HEAD_DIM
#define YAIE_MAX_HEAD_DIM 256
#endif

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

// Call `f` with a null pointer to T, f(static_cast<T*>(nullptr)), if this build has the element type.
template <int DTYPE, typename T, typename F>
static int call_if_built(F f) {
    if constexpr ((YAIE_DTYPES >> DTYPE & 1) != 0) {
        return f(static_cast<T*>(nullptr));
    } else {
        return cudaErrorInvalidValue;
    }
}

// Call `f` with a null pointer to the element type of `dtype`, of the 16-bit types.
template <typename F>
static int dispatch_16_bit(int dtype, F f) {
    switch (dtype) {
        case DTYPE_FLOAT16: return call_if_built<DTYPE_FLOAT16, __half>(f);
        case DTYPE_BFLOAT16: return call_if_built<DTYPE_BFLOAT16, __nv_bfloat16>(f);
        default: return cudaErrorInvalidValue;
    }
}

// The same for all element types.
template <typename F>
static int dispatch_dtype(int dtype, F f) {
    return dtype == DTYPE_FLOAT32 ? call_if_built<DTYPE_FLOAT32, float>(f) : dispatch_16_bit(dtype, f);
}

// Call `f` with the first of the ascending SIZES that is at least head_dim, as an std::integral_constant.
template <int SIZE, int... LARGER, typename F>
static int dispatch_head_dim(int head_dim, F f) {
    if constexpr (SIZE > YAIE_MAX_HEAD_DIM) {
        return cudaErrorInvalidValue;
    } else if (head_dim <= SIZE) {
        return f(std::integral_constant<int, SIZE>());
    } else if constexpr (sizeof...(LARGER) > 0) {
        return dispatch_head_dim<LARGER...>(head_dim, f);
    } else {
        return cudaErrorInvalidValue;
    }
}

// Above 48 KB a kernel must ask for its shared memory, or the launch fails.
template <typename Kernel>
static cudaError_t allow_shared_memory(Kernel kernel, size_t bytes) {
    return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
}
