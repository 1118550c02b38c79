// expect: the lanes do not share the elements of the key
template <typename T>
__device__ __forceinline__ float warp_dot(const float* query, const T* key, int head_dim) {
    float sum = 0.0f;
    for (int d = 0; d < head_dim; ++d) {
        const float q = __shfl_sync(FULL_WARP, query[d / 32], d % 32);
        if (threadIdx.x % 32 == 0) {
            sum += q * to_float(key[d]);
        }
    }
    return __shfl_sync(FULL_WARP, sum, 0);
}
