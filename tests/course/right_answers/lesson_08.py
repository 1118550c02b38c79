"""Three other right answers for each exercise of lesson 08."""

ANSWERS = {
    "8.1": [
        """
__global__ void add_guarded(const float* a, const float* b, float* c, int64_t n) {
    int64_t element = (int64_t)blockDim.x * blockIdx.x + threadIdx.x;
    if (element >= n) return;
    c[element] = b[element] + a[element];
}
""",
        """
__device__ int64_t my_element() {
    return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

__global__ void add_guarded(const float* __restrict__ x, const float* __restrict__ y, float* z, const int64_t count) {
    const auto i = my_element();
    if (i < count) z[i] = x[i] + y[i];
}
""",
        """
#include <cstddef>
#define ADD(x, y) ((x) + (y))

__global__ void add_guarded(const float* a, const float* b, float* c, int64_t n) {
    std::size_t i = threadIdx.x;
    for (unsigned block = 0; block < blockIdx.x; ++block) {
        i += blockDim.x;
    }
    for (; i < static_cast<std::size_t>(n); i = n) {
        c[i] = ADD(a[i], b[i]);
    }
}
""",
    ],
    "8.2": [
        """
__global__ void add_grid_stride(const float* a, const float* b, float* c, int64_t n) {
    int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
    while (i < n) {
        c[i] = a[i] + b[i];
        i += blockDim.x * gridDim.x;
    }
}
""",
        """
__device__ int64_t threads_in_grid() { return int64_t(blockDim.x) * gridDim.x; }

__global__ void add_grid_stride(const float* a, const float* b, float* c, int64_t n) {
    const int64_t first = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    const int64_t rounds = (n - first + threads_in_grid() - 1) / threads_in_grid();
    for (int64_t round = 0; round < rounds; ++round) {
        const int64_t i = first + round * threads_in_grid();
        c[i] = a[i] + b[i];
    }
}
""",
        """
template <typename T>
__device__ void add_one(const T* x, const T* y, T* sum) {
    *sum = *x + *y;
}

__global__ void add_grid_stride(const float* a, const float* b, float* c, int64_t n) {
    for (int64_t start = 0; start < n; start += (int64_t)gridDim.x * blockDim.x) {
        const int64_t i = start + (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
        if (i < n) {
            add_one(&a[i], &b[i], &c[i]);
        }
    }
}
""",
    ],
}
