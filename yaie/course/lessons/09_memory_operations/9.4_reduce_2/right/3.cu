__device__ float element(const float* x, int64_t i, int64_t n) {
    return i < n ? x[i] : 0.0f;
}

__global__ void reduce_2_kernel(const float* x, float* total, int64_t n) {
    __shared__ float partial[THREADS];
    float sum = element(x, static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x, n);
    partial[threadIdx.x] = sum;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half >>= 1) {
        if (threadIdx.x < half) {
            sum += partial[threadIdx.x + half];
            partial[threadIdx.x] = sum;
        }
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        atomicAdd(total, sum);
    }
}
