// expect: four times as many reads as they need
template <int R>
__device__ __forceinline__ void score_keys(const float* queries, const float* keys, int stride, int head_dim,
                                           float (&scores)[R][R]) {
    const int tx = threadIdx.x % SIDE, ty = threadIdx.x / SIDE;
    for (int i = 0; i < R * R; ++i) scores[i / R][i % R] = 0.0f;
    for (int d = 0; d < head_dim; ++d) {
        float q[R], k[R];
        for (int i = 0; i < R; ++i) q[i] = queries[(R * ty + i) * stride + d];
        for (int i = 0; i < R; ++i) k[i] = keys[(tx + SIDE * i) * stride + d];
        for (int r = 0; r < R; ++r)
            for (int i = 0; i < R; ++i) scores[r][i] += q[r] * k[i];
    }
}
