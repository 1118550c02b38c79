// Two vectors become one, whose numbers come from them in turn.
#include <cuda_runtime.h>
#include <stdint.h>

constexpr int INTERLEAVE_THREADS = 256;  // per block

// c[2 * i] = a[i] and c[2 * i + 1] = b[i] for 0 <= i < n, with at least 2 * n threads in the grid. A thread stores one
// number, so that a warp stores 32 in a row; with one for each i, both of its stores would skip every other number.
__global__ void interleave_kernel(const float* a, const float* b, float* c, int64_t n) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i < 2 * n) {
        c[i] = i % 2 == 0 ? a[i / 2] : b[i / 2];
    }
}

extern "C" int interleave(const float* a, const float* b, float* c, int64_t n, cudaStream_t stream) {
    if (n == 0) {
        return cudaSuccess;
    }
    const int64_t blocks = (2 * n + INTERLEAVE_THREADS - 1) / INTERLEAVE_THREADS;
    interleave_kernel<<<blocks, INTERLEAVE_THREADS, 0, stream>>>(a, b, c, n);
    return cudaGetLastError();
}
