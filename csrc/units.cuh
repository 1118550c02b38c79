// How kernels that only move bytes move them: in the widest units that fit, whatever the element type is.
#pragma once
#include <cuda_runtime.h>
#include <stdint.h>

#include <type_traits>

// Call `f` with a null pointer to the widest type of which `bytes` is a multiple: 16 bytes for every usual head_dim,
// down to single bytes for odd shapes.
template <typename F>
static int dispatch_unit(int64_t bytes, F f) {
    return bytes % 16 == 0  ? f(static_cast<uint4*>(nullptr))
           : bytes % 4 == 0 ? f(static_cast<uint32_t*>(nullptr))
           : bytes % 2 == 0 ? f(static_cast<uint16_t*>(nullptr))
                            : f(static_cast<uint8_t*>(nullptr));
}

// Threads for a thread block that moves so many units: whole warps, at most 256.
static int threads_for(int64_t units) { return units < 256 ? static_cast<int>((units + 31) / 32 * 32) : 256; }
