__global__ void reduce_1_kernel(const float* x, float* total, int64_t n) {
    __shared__ float of_block;
    if (threadIdx.x == 0) {
        of_block = 0.0f;
    }
    __syncthreads();
    const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i < n) {
        atomicAdd(&of_block, x[i]);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        atomicAdd(total, of_block);
    }
}
