template <typename T, int N>
__global__ void rope_kernel(T* x, const float* cos, const float* sin, int num_heads, int packs, int64_t token_stride) {
    const int64_t token = blockIdx.x;
    for (int i = threadIdx.x; i < num_heads * packs; i += blockDim.x) {
        const int head = i % num_heads, pack = i / num_heads;
        Pack<T, N>* first = reinterpret_cast<Pack<T, N>*>(x + token * token_stride) + head * 2 * packs + pack;
        Pack<T, N>* second = first + packs;
        const Pack<T, N> a = *first, b = *second;
        for (int e = 0; e < N; ++e) {
            const int64_t angle = (token * packs + pack) * N + e;
            first->at[e] = from_float<T>(fmaf(to_float(a.at[e]), cos[angle], -to_float(b.at[e]) * sin[angle]));
            second->at[e] = from_float<T>(fmaf(to_float(b.at[e]), cos[angle], to_float(a.at[e]) * sin[angle]));
        }
    }
}
