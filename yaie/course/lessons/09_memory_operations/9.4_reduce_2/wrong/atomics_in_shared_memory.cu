// expect: Atomics on one float wait for each other
__global__ void reduce_2_kernel(const float* x, float* total, int64_t n) {
    __shared__ float sum;
    const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (threadIdx.x == 0) {
        sum = 0.0f;
    }
    __syncthreads();
    if (i < n) {
        atomicAdd(&sum, x[i]);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        atomicAdd(total, sum);
    }
}
