// score_keys by itself, with four warps: scores [16 * BANDS * 4][8 * BLOCKS] += queries * keys, where both are rows of
// HEAD_DIM numbers.
template <int HEAD_DIM, int BANDS, int BLOCKS>
__global__ void score_alone(const uint4* queries, const uint4* keys, float* scores) {
    constexpr int CHUNKS = HEAD_DIM / 8, ROWS = 16 * BANDS * WARPS, KEYS = 8 * BLOCKS;
    __shared__ uint4 tiles[(ROWS + KEYS) * CHUNKS + 8];  // a chunk too many is found by its numbers
    for (int i = threadIdx.x; i < ROWS * CHUNKS; i += blockDim.x) {
        tiles[place<HEAD_DIM>(i / CHUNKS, i % CHUNKS)] = queries[i];
    }
    for (int i = threadIdx.x; i < KEYS * CHUNKS; i += blockDim.x) {
        tiles[ROWS * CHUNKS + place<HEAD_DIM>(i / CHUNKS, i % CHUNKS)] = keys[i];
    }
    if (threadIdx.x < 8) {
        tiles[(ROWS + KEYS) * CHUNKS + threadIdx.x] = uint4();
    }
    __syncthreads();
    const int lane = threadIdx.x % 32;
    float own[BANDS][BLOCKS][4];
    const auto each = [&](auto f) {
        for (int band = 0; band < BANDS; ++band)
            for (int block = 0; block < BLOCKS; ++block)
                for (int i = 0; i < 4; ++i) {
                    const int row = (threadIdx.x / 32 * BANDS + band) * 16 + lane / 4 + 8 * (i / 2);
                    f(own[band][block][i], scores[row * KEYS + 8 * block + lane % 4 * 2 + i % 2]);
                }
    };
    each([](float& in_lane, float in_memory) { in_lane = in_memory; });
    score_keys<HEAD_DIM, __half>(tiles, tiles + ROWS * CHUNKS, own);
    each([](float in_lane, float& in_memory) { in_memory = in_lane; });
}

extern "C" int score_keys_alone(const __half* query, const __half* key, float* scores, int head_dim,
                                cudaStream_t stream) {
    const auto queries = reinterpret_cast<const uint4*>(query), keys = reinterpret_cast<const uint4*>(key);
    if (head_dim == 64) {
        score_alone<64, 2, 8><<<1, THREADS, 0, stream>>>(queries, keys, scores);
    } else {
        score_alone<128, 1, 4><<<1, THREADS, 0, stream>>>(queries, keys, scores);
    }
    return cudaGetLastError();
}
