// expect: Lanes without an element returned before `warp_sum`
template <typename T>
__device__ __forceinline__ float warp_dot(const float* query, const T* key, int head_dim) {
    const int lane = threadIdx.x % 32;
    if (lane >= head_dim) {
        return 0.0f;
    }
    float sum = 0.0f;
    for (int i = 0; lane + 32 * i < head_dim; ++i) {
        sum += query[i] * to_float(key[lane + 32 * i]);
    }
    return warp_sum(sum);
}
