// expect: Thread t takes t, t + T, t + 2 T
__global__ void add_grid_stride(const float* a, const float* b, float* c, int64_t n) {
    const int64_t threads = static_cast<int64_t>(gridDim.x) * blockDim.x;
    const int64_t each = (n + threads - 1) / threads;
    const int64_t first = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * each;
    for (int64_t i = first; i < first + each && i < n; ++i) {
        c[i] = a[i] + b[i];
    }
}
