__global__ void reduce_2_kernel(const float* x, float* total, int64_t n) {
    __shared__ float sums[256];
    const int t = threadIdx.x;
    const int64_t i = (int64_t)blockIdx.x * 256 + t;
    sums[t] = 0;
    if (i < n) sums[t] = x[i];
    for (int left = 256; left > 1; left /= 2) {
        __syncthreads();
        if (t < left / 2) sums[t] += sums[t + left / 2];
    }
    if (t == 0) atomicAdd(total, sums[0]);
}
