template <typename T>
__device__ __forceinline__ float warp_dot(const float* query, const T* key, int head_dim) {
    const int lane = threadIdx.x & 31;
    float mine = 0.0f;
    for (int i = 0; lane + 32 * i < head_dim; ++i) {
        mine += query[i] * to_float(key[lane + 32 * i]);
    }
    return warp_sum(mine);
}
