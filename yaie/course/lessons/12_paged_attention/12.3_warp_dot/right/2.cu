template <typename T>
__device__ __forceinline__ float warp_dot(const float* q, const T* k, int dim) {
    float sum = 0.0f;
    int i = 0;
    for (int d = threadIdx.x % warpSize; d < dim; d += warpSize) {
        sum = fmaf(q[i++], to_float(k[d]), sum);
    }
    for (int distance = 1; distance < 32; distance *= 2) {
        sum += __shfl_xor_sync(0xffffffff, sum, distance);
    }
    return sum;
}
