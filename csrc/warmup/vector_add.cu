// Warm-up: one thread per element, then a grid-stride loop.
//
// 1 add_guarded       one thread adds one element; the last block has more threads than elements
// 2 add_grid_stride   any grid adds any number of elements
#include <cuda_runtime.h>
#include <stdint.h>

// c[i] = a[i] + b[i] for 0 <= i < n, with at least n threads in the grid. Nothing beyond n is read or written.
__global__ void add_guarded(const float* a, const float* b, float* c, int64_t n) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i < n) {
        c[i] = a[i] + b[i];
    }
}

// c[i] = a[i] + b[i] for 0 <= i < n, with any number of threads in the grid. Neighbouring threads add neighbouring
// elements, and each thread adds as many as any other, or one more.
__global__ void add_grid_stride(const float* a, const float* b, float* c, int64_t n) {
    const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += stride) {
        c[i] = a[i] + b[i];
    }
}

extern "C" int vector_add(const float* a, const float* b, float* c, int64_t n, cudaStream_t stream) {
    const int threads = 256;
    const int64_t blocks = (n + threads - 1) / threads;  // rounded up, so that every element has a thread
    if (blocks > 0) {
        add_guarded<<<blocks, threads, 0, stream>>>(a, b, c, n);
    }
    return cudaGetLastError();
}

extern "C" int vector_add_grid_stride(const float* a, const float* b, float* c, int64_t n, int blocks,
                                      cudaStream_t stream) {
    add_grid_stride<<<blocks, 256, 0, stream>>>(a, b, c, n);
    return cudaGetLastError();
}
