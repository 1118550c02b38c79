// The product of two narrow matrices on tensor cores: c = a * b^T, with sums in float, by one warp.
//
// a: [16, depth], b: [8, depth], float16; c: [16, 8]. depth is a multiple of 16; all pointers are 16-byte aligned.
#include <cuda_runtime.h>
#include <stdint.h>
#include <yaie_ptx.cuh>

// Two neighbours of a row, as one register.
__device__ __forceinline__ uint32_t two_at(const __half* place) { return *reinterpret_cast<const uint32_t*>(place); }

// c = a * b^T with one mma for each 16 columns. Each lane fetches its elements from global memory, each of them once:
//
//     register of lane l      row            columns
//     left 0 and 1            l / 4, + 8     l % 4 * 2 and the next one
//     left 2 and 3            l / 4, + 8     the same, + 8
//     right 0 and 1           l / 4          l % 4 * 2 and the next one, + 8
//     sums 0 and 1, 2 and 3   l / 4, + 8     l % 4 * 2 and the next one
__global__ void tile_product_kernel(const __half* a, const __half* b, float* c, int depth) {
    const int row = threadIdx.x / 4;
    const int column = threadIdx.x % 4 * 2;
    const __half* upper = a + row * depth + column;
    const __half* lower = upper + 8 * depth;
    const __half* of_b = b + row * depth + column;
    float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    for (int k = 0; k < depth; k += 16) {
        const uint32_t left[4] = {two_at(upper + k), two_at(lower + k), two_at(upper + k + 8), two_at(lower + k + 8)};
        const uint32_t right[2] = {two_at(of_b + k), two_at(of_b + k + 8)};
        yaie::mma_m16n8k16_f16(sums, left, right, sums);
    }
    for (int i = 0; i < 4; ++i) {
        c[(row + i / 2 * 8) * 8 + column + i % 2] = sums[i];
    }
}

extern "C" int tile_product(const __half* a, const __half* b, float* c, int depth, cudaStream_t stream) {
    if (depth % 16 != 0) {
        return cudaErrorInvalidValue;
    }
    tile_product_kernel<<<1, 32, 0, stream>>>(a, b, c, depth);
    return cudaGetLastError();
}
