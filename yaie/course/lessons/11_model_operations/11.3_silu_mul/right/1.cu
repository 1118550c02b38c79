template <typename T, int N>
__global__ void silu_mul_kernel(const Pack<T, N>* gate_up, Pack<T, N>* out, int packs) {
    const int i = threadIdx.x + blockDim.x * blockIdx.y;
    if (i < packs) {
        const Pack<T, N>* row = gate_up + static_cast<int64_t>(blockIdx.x) * 2 * packs;
        Pack<T, N> gate = row[i], up = row[packs + i];
        for (int e = 0; e < N; ++e) {
            const float z = to_float(gate.at[e]);
            gate.at[e] = from_float<T>(to_float(from_float<T>(z / (1.0f + expf(-z)))) * to_float(up.at[e]));
        }
        out[static_cast<int64_t>(blockIdx.x) * packs + i] = gate;
    }
}
