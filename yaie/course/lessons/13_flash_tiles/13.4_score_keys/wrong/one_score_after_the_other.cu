// expect: numbers are read from shared memory more than once
template <int R>
__device__ __forceinline__ void score_keys(const float* queries, const float* keys, int stride, int head_dim,
                                           float (&scores)[R][R]) {
    const int tx = threadIdx.x % SIDE, ty = threadIdx.x / SIDE;
    for (int r = 0; r < R; ++r) {
        for (int i = 0; i < R; ++i) {
            scores[r][i] = 0.0f;
            for (int d = 0; d < head_dim; d += 4) {
                add_dot(scores[r][i], *reinterpret_cast<const float4*>(&queries[(R * ty + r) * stride + d]),
                        *reinterpret_cast<const float4*>(&keys[(tx + SIDE * i) * stride + d]));
            }
        }
    }
}
