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
}
