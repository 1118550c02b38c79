// expect: There is a better way.
template <typename T, int N>
__global__ void rope_kernel(T* x, const float* cos, const float* sin, int num_heads, int packs, int64_t token_stride) {
    x += blockIdx.x * token_stride;
    cos += static_cast<int64_t>(blockIdx.x) * packs * N;
    sin += static_cast<int64_t>(blockIdx.x) * packs * N;
    for (int head = 0; head < num_heads; ++head) {
        Pack<T, N>* pairs = reinterpret_cast<Pack<T, N>*>(x + head * 2 * packs * N);
        for (int i = threadIdx.x; i < packs; i += blockDim.x) {
            const Pack<T, N> a = pairs[i], b = pairs[i + packs];
            Pack<T, N> first, second;
            for (int e = 0; e < N; ++e) {
                const float c = cos[i * N + e], s = sin[i * N + e];
                first.at[e] = from_float<T>(to_float(a.at[e]) * c - to_float(b.at[e]) * s);
                second.at[e] = from_float<T>(to_float(b.at[e]) * c + to_float(a.at[e]) * s);
            }
            pairs[i] = first;
            pairs[i + packs] = second;
        }
    }
}
