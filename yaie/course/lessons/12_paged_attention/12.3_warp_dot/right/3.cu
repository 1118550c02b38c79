template <typename T>
__device__ __forceinline__ float warp_dot(const float* query, const T* key, int head_dim) {
    float sum = 0.0f;
    const T* end = key + head_dim;
    const T* own = key + threadIdx.x % 32;
    for (; own < end; own += 32) {
        sum += *query++ * to_float(*own);
    }
    for (int distance = 16; distance > 0; distance /= 2) {
        sum += __shfl_down_sync(FULL_WARP, sum, distance);
    }
    return __shfl_sync(FULL_WARP, sum, 0);
}
