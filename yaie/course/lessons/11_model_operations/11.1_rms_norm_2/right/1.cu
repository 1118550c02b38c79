template <typename T, int N>
__global__ void __launch_bounds__(MOST_THREADS)
rms_norm_2_kernel(const Pack<T, N>* x, Pack<T, N>* residual, const Pack<T, N>* weight, Pack<T, N>* out, int packs,
                  float eps) {
    x += static_cast<int64_t>(blockIdx.x) * packs;
    out += static_cast<int64_t>(blockIdx.x) * packs;
    Pack<T, N> mine[MOST_PACKS];
    float squares = 0.0f;
    for (int j = 0, i = threadIdx.x; i < packs; ++j, i += blockDim.x) {
        mine[j] = x[i];
        if (residual) {
            Pack<T, N>* stream = residual + static_cast<int64_t>(blockIdx.x) * packs + i;
            *stream = mine[j] = added(*stream, mine[j]);
        }
        squares += sum_of_squares(mine[j]);
    }
    const float mean = block_sum(squares) / static_cast<float>(packs * N);
    for (int j = 0, i = threadIdx.x; i < packs; ++j, i += blockDim.x) {
        out[i] = scaled(mine[j], 1.0f / sqrtf(mean + eps), weight[i]);
    }
}
