__global__ void add_grid_stride(const float* a, const float* b, float* c, int64_t n) {
    int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
    while (i < n) {
        c[i] = a[i] + b[i];
        i += blockDim.x * gridDim.x;
    }
}
