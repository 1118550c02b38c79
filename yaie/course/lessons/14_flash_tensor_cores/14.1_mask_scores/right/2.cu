__device__ __forceinline__ void hide(float& score, int key, int seen) {
    if (key >= seen) score = -INFINITY;
}

template <typename Rows, int BANDS, int BLOCKS>
__device__ __forceinline__ void mask_scores(Accumulators<BANDS, BLOCKS>& scores, const Rows& rows, int first_row,
                                            int first_key) {
    const int row_of_lane = (threadIdx.x & 31) >> 2, key_of_lane = (threadIdx.x & 3) << 1;
#pragma unroll
    for (int band = 0; band < BANDS; ++band) {
        const int upper = rows.visible_keys(first_row + band * 16 + row_of_lane);
        const int lower = rows.visible_keys(first_row + band * 16 + row_of_lane + 8);
#pragma unroll
        for (int block = 0; block < BLOCKS; ++block) {
            const int key = first_key + block * 8 + key_of_lane;
            hide(scores[band][block][0], key, upper);
            hide(scores[band][block][1], key + 1, upper);
            hide(scores[band][block][2], key, lower);
            hide(scores[band][block][3], key + 1, lower);
        }
    }
}
