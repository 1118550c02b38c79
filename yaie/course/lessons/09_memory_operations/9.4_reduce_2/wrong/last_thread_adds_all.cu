// expect: the threads do not share the additions
__global__ void reduce_2_kernel(const float* x, float* total, int64_t n) {
    __shared__ float partial[THREADS];
    const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
    partial[threadIdx.x] = i < n ? x[i] : 0.0f;
    __syncthreads();
    if (threadIdx.x == THREADS - 1) {
        float sum = 0.0f;
        for (int j = 0; j < THREADS; ++j) {
            sum += partial[j];
        }
        atomicAdd(total, sum);
    }
}
