__global__ void reduce_3_kernel(const float* x, float* total, int64_t n) {
    __shared__ float of_warp[THREADS / 32];
    const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
    float sum = 0.0f;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += stride) {
        sum += x[i];
    }
    sum = warp_sum(sum);
    const int lane = threadIdx.x % 32;
    const int warp = threadIdx.x / 32;
    if (lane == 0) {
        of_warp[warp] = sum;
    }
    __syncthreads();
    if (warp == 0) {
        sum = warp_sum(lane < THREADS / 32 ? of_warp[lane] : 0.0f);
    }
    if (threadIdx.x == 0) {
        atomicAdd(total, sum);
    }
}
