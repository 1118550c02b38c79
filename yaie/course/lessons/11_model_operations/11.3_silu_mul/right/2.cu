__device__ float sigmoid(float z) { return 1.0f / (1.0f + expf(-z)); }

template <typename T, int N>
__global__ void silu_mul_kernel(const Pack<T, N>* gate_up, Pack<T, N>* out, int packs) {
    const int64_t row = blockIdx.x;
    for (int i = blockIdx.y * blockDim.x + threadIdx.x; i < packs; i += gridDim.y * blockDim.x) {
        const Pack<T, N> gate = gate_up[2 * row * packs + i];
        const Pack<T, N> up = gate_up[(2 * row + 1) * packs + i];
        Pack<T, N> result;
        for (int e = 0; e < N; ++e) {
            const float z = to_float(gate.at[e]);
            result.at[e] = from_float<T>(to_float(from_float<T>(z * sigmoid(z))) * to_float(up.at[e]));
        }
        out[row * packs + i] = result;
    }
}
