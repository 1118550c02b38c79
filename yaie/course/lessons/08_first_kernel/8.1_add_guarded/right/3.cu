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
