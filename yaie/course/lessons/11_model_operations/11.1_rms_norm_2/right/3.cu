template <typename T, int N>
__global__ void __launch_bounds__(MOST_THREADS)
rms_norm_2_kernel(const Pack<T, N>* x, Pack<T, N>* residual, const Pack<T, N>* weight, Pack<T, N>* out, int packs,
                  float eps) {
    const int64_t first = static_cast<int64_t>(blockIdx.x) * packs + threadIdx.x;
    const int count = threadIdx.x < packs ? (packs - threadIdx.x + blockDim.x - 1) / blockDim.x : 0;
    float values[MOST_PACKS * N];
    float sum = 0.0f;
    for (int j = 0; j < count; ++j) {
        Pack<T, N> pack = x[first + j * blockDim.x];
        if (residual != nullptr) {
            residual[first + j * blockDim.x] = pack = added(pack, residual[first + j * blockDim.x]);
        }
        for (int e = 0; e < N; ++e) {
            values[j * N + e] = to_float(pack.at[e]);
            sum += values[j * N + e] * values[j * N + e];
        }
    }
    const float scale = rsqrtf(block_sum(sum) / packs / N + eps);
    for (int j = 0; j < count; ++j) {
        Pack<T, N> pack;
        for (int e = 0; e < N; ++e) {
            pack.at[e] = from_float<T>(values[j * N + e]);
        }
        out[first + j * blockDim.x] = scaled(pack, scale, weight[threadIdx.x + j * blockDim.x]);
    }
}
