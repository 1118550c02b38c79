// The fragments by plain loads: a lane reads just the pairs of numbers that it needs.
template <int HEAD_DIM>
__device__ __forceinline__ uint32_t pair_at(const uint4* tile, int row, int chunk) {
    return reinterpret_cast<const uint32_t*>(&tile[place<HEAD_DIM>(row, chunk)])[threadIdx.x % 4];
}

template <int HEAD_DIM, typename T, int BANDS, int BLOCKS>
__device__ __forceinline__ void score_keys(const uint4* queries, const uint4* keys,
                                           Accumulators<BANDS, BLOCKS>& scores) {
    const int row_of_lane = threadIdx.x % 32 / 4, first_row = threadIdx.x / 32 * 16 * BANDS;
    for (int band = 0; band < BANDS; ++band) {
        const int row = first_row + 16 * band + row_of_lane;
        for (int chunk = 0; chunk < HEAD_DIM / 8; chunk += 2) {
            const uint32_t a[4] = {pair_at<HEAD_DIM>(queries, row, chunk), pair_at<HEAD_DIM>(queries, row + 8, chunk),
                                   pair_at<HEAD_DIM>(queries, row, chunk + 1),
                                   pair_at<HEAD_DIM>(queries, row + 8, chunk + 1)};
            for (int block = 0; block < BLOCKS; ++block) {
                const int key = 8 * block + row_of_lane;
                multiply<T>(scores[band][block], a,
                            {pair_at<HEAD_DIM>(keys, key, chunk), pair_at<HEAD_DIM>(keys, key, chunk + 1)});
            }
        }
    }
}
