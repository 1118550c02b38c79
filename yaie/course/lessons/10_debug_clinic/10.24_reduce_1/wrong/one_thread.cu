// expect: Race on
__global__ void reduce_1_kernel(const float* x, float* total, int64_t n) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (threadIdx.x == 0) {
        for (int64_t j = i; j < n && j < i + blockDim.x; ++j) {
            *total += x[j];
        }
    }
}
