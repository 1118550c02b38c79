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
