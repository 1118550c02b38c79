__device__ __forceinline__ float4 four_of(const float* tile, int row, int stride, int column) {
    return reinterpret_cast<const float4&>(tile[row * stride + column]);
}

template <int R>
__device__ __forceinline__ void score_keys(const float* queries, const float* keys, int stride, int head_dim,
                                           float (&scores)[R][R]) {
    const int first_row = threadIdx.x / SIDE * R, first_key = threadIdx.x % SIDE;
    float sums[R * R] = {};
    for (int column = head_dim - 4; column >= 0; column -= 4) {
        float4 of_keys[R];
        for (int i = 0; i < R; ++i) of_keys[i] = four_of(keys, first_key + i * SIDE, stride, column);
        for (int r = 0; r < R; ++r) {
            const float4 q = four_of(queries, first_row + r, stride, column);
            for (int i = 0; i < R; ++i) {
                const float4 k = of_keys[i];
                sums[r * R + i] += q.x * k.x + q.y * k.y + q.z * k.z + q.w * k.w;
            }
        }
    }
    for (int i = 0; i < R * R; ++i) scores[i / R][i % R] = sums[i];
}
