template <typename T, int N>
__device__ float square(const Pack<T, N>& pack) {
    float total = 0.0f;
    for (int e = 0; e < N; ++e) {
        const float value = to_float(pack.at[e]);
        total = fmaf(value, value, total);
    }
    return total;
}

template <typename T, int N>
__global__ void __launch_bounds__(MOST_THREADS)
rms_norm_2_kernel(const Pack<T, N>* x, Pack<T, N>* residual, const Pack<T, N>* weight, Pack<T, N>* out, int packs,
                  float eps) {
    const int64_t begin = int64_t(packs) * blockIdx.x;
    Pack<T, N> row[MOST_PACKS];
    float sum = 0.0f;
    for (int j = 0; j < MOST_PACKS; ++j) {
        const int64_t at = j * blockDim.x + threadIdx.x;
        if (at >= packs) break;
        row[j] = residual == nullptr ? x[begin + at] : added(x[begin + at], residual[begin + at]);
        if (residual != nullptr) residual[begin + at] = row[j];
        sum += square(row[j]);
    }
    sum = block_sum(sum);
    for (int j = 0; j < MOST_PACKS; ++j) {
        const int64_t at = j * blockDim.x + threadIdx.x;
        if (at >= packs) break;
        out[begin + at] = scaled(row[j], rsqrtf(eps + sum / (N * packs)), weight[at]);
    }
}
