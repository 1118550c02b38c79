// expect: elements of thread 0
__global__ void add_grid_stride(const float* a, const float* b, float* c, int64_t n) {
    const int64_t each = (n + gridDim.x - 1) / gridDim.x;
    for (int64_t i = blockIdx.x * each + threadIdx.x; i < n && i < (blockIdx.x + 1) * each; i += blockDim.x) {
        c[i] = a[i] + b[i];
    }
}
