struct Four {
    float at[4];
};

template <int R>
__device__ __forceinline__ void score_keys(const float* queries, const float* keys, int stride, int head_dim,
                                           float (&scores)[R][R]) {
    const float4* rows = reinterpret_cast<const float4*>(queries + R * (threadIdx.x / SIDE) * stride);
    const float4* columns = reinterpret_cast<const float4*>(keys + threadIdx.x % SIDE * stride);
    const int quads = stride / 4;
    memset(scores, 0, sizeof(scores));
    for (int quad = 0; quad < head_dim / 4; ++quad) {
        Four q[R], k[R];
#pragma unroll
        for (int i = 0; i < R; ++i) {
            const float4 a = rows[i * quads + quad], b = columns[SIDE * i * quads + quad];
            q[i] = {{a.x, a.y, a.z, a.w}};
            k[i] = {{b.x, b.y, b.z, b.w}};
        }
#pragma unroll
        for (int step = 0; step < 4 * R * R; ++step) {
            const int e = step / (R * R), r = step / R % R, i = step % R;
            scores[r][i] += q[r].at[e] * k[i].at[e];
        }
    }
}
