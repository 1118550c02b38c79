__global__ void reduce_1_kernel(const float* x, float* total, int64_t n) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= n) {
        return;
    }
    atomicAdd(&total[0], x[i]);
}
