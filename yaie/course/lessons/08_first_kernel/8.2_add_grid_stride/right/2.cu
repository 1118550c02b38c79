__device__ int64_t threads_in_grid() { return int64_t(blockDim.x) * gridDim.x; }

__global__ void add_grid_stride(const float* a, const float* b, float* c, int64_t n) {
    const int64_t first = int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
    const int64_t rounds = (n - first + threads_in_grid() - 1) / threads_in_grid();
    for (int64_t round = 0; round < rounds; ++round) {
        const int64_t i = first + round * threads_in_grid();
        c[i] = a[i] + b[i];
    }
}
