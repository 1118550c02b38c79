// expect: most threads of a warp have nothing to do
template <typename T, int N>
__global__ void silu_mul_kernel(const Pack<T, N>* gate_up, Pack<T, N>* out, int packs) {
    const int64_t row = blockIdx.x;
    for (int i = 0; threadIdx.x + blockIdx.y == 0 && i < packs; i += 1) {
        const Pack<T, N> gate = gate_up[row * 2 * packs + i];
        const Pack<T, N> up = gate_up[row * 2 * packs + packs + i];
        Pack<T, N> result;
        for (int e = 0; e < N; ++e) {
            const float z = to_float(gate.at[e]);
            const T silu = from_float<T>(z / (1.0f + expf(-z)));
            result.at[e] = from_float<T>(to_float(silu) * to_float(up.at[e]));
        }
        out[row * packs + i] = result;
    }
}
