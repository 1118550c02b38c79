// add_values by itself, with four warps: sums [16 * BANDS * 4][HEAD_DIM] += weights * values, where `weights` is
// [16 * BANDS * 4][8 * BLOCKS] and `values` [8 * BLOCKS][HEAD_DIM].
template <int HEAD_DIM, int BANDS, int BLOCKS>
__global__ void values_alone(const float* weights, const uint4* values, float* sums) {
    constexpr int CHUNKS = HEAD_DIM / 8, KEYS = 8 * BLOCKS;
    __shared__ uint4 tile[KEYS * CHUNKS];
    for (int i = threadIdx.x; i < KEYS * CHUNKS; i += blockDim.x) {
        tile[place<HEAD_DIM>(i / CHUNKS, i % CHUNKS)] = values[i];
    }
    __syncthreads();
    const int lane = threadIdx.x % 32;
    const auto each = [&](auto& fragments, int blocks, auto f) {
        for (int band = 0; band < BANDS; ++band)
            for (int block = 0; block < blocks; ++block)
                for (int i = 0; i < 4; ++i) {
                    const int row = (threadIdx.x / 32 * BANDS + band) * 16 + lane / 4 + 8 * (i / 2);
                    f(fragments[band][block][i], row * 8 * blocks + 8 * block + lane % 4 * 2 + i % 2);
                }
    };
    struct {
        float own[BANDS][BLOCKS][4], behind[BLOCKS][4];  // NaN: no checker sees where a local array ends
    } of_weights;
    float own[BANDS][CHUNKS][4];
    for (auto& each : of_weights.behind) std::fill_n(each, 4, NAN);
    each(of_weights.own, BLOCKS, [&](float& in_lane, int at) { in_lane = weights[at]; });
    each(own, CHUNKS, [&](float& in_lane, int at) { in_lane = sums[at]; });
    add_values<HEAD_DIM, __half>(of_weights.own, tile, own);
    each(own, CHUNKS, [&](float& in_lane, int at) { sums[at] = in_lane; });
}

extern "C" int add_values_alone(const float* weights, const __half* values, float* sums, int head_dim,
                                cudaStream_t stream) {
    const auto chunks = reinterpret_cast<const uint4*>(values);
    if (head_dim == 64) {
        values_alone<64, 2, 8><<<1, THREADS, 0, stream>>>(weights, chunks, sums);
    } else {
        values_alone<128, 1, 4><<<1, THREADS, 0, stream>>>(weights, chunks, sums);
    }
    return cudaGetLastError();
}
