template <typename T, int N>
__global__ void silu_mul_kernel(const Pack<T, N>* gate_up, Pack<T, N>* out, int packs) {
    const int i = blockIdx.y * blockDim.x + threadIdx.x;
    if (i >= packs) return;
    const int64_t start = static_cast<int64_t>(blockIdx.x) * packs;
    Pack<T, N> pair[2] = {gate_up[2 * start + i], gate_up[2 * start + packs + i]};
    for (int e = 0; e < N; ++e) {
        float z = to_float(pair[0].at[e]);
        z = z * (1.0f / (1.0f + expf(-z)));
        pair[1].at[e] = from_float<T>(to_float(from_float<T>(z)) * to_float(pair[1].at[e]));
    }
    out[start + i] = pair[1];
}
