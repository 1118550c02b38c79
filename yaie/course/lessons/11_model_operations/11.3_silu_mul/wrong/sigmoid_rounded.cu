// expect: The first that is rounded to T is silu(gate)
template <typename T, int N>
__global__ void silu_mul_kernel(const Pack<T, N>* gate_up, Pack<T, N>* out, int packs) {
    const int64_t row = blockIdx.x;
    const int i = blockIdx.y * blockDim.x + threadIdx.x;
    if (i >= packs) {
        return;
    }
    const Pack<T, N> gate = gate_up[row * 2 * packs + i];
    const Pack<T, N> up = gate_up[row * 2 * packs + packs + i];
    Pack<T, N> result;
    for (int e = 0; e < N; ++e) {
        const float z = to_float(gate.at[e]);
        const T sigmoid = from_float<T>(1.0f / (1.0f + expf(-z)));
        const T silu = from_float<T>(z * to_float(sigmoid));
        result.at[e] = from_float<T>(to_float(silu) * to_float(up.at[e]));
    }
    out[row * packs + i] = result;
}
