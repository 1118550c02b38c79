template <int R>
__device__ __forceinline__ void score_keys(const float* queries, const float* keys, int stride, int head_dim,
                                           float (&scores)[R][R]) {
    const int t = threadIdx.x;
    for (int r = 0; r < R; ++r)
        for (int i = 0; i < R; ++i) scores[r][i] = 0;
    for (int d = 0; d < head_dim; d += 4) {
        float4 row[R];
        for (int r = 0; r < R; ++r) row[r] = *(const float4*)(queries + (t / 16 * R + r) * stride + d);
        for (int i = 0; i < R; ++i) {  // one key at a time
            const float4 key = *(const float4*)(keys + (t % 16 + 16 * i) * stride + d);
            for (int r = 0; r < R; ++r) add_dot(scores[r][i], row[r], key);
        }
    }
}
