// expect: is not -inf
template <typename Rows, int BANDS, int BLOCKS>
__device__ __forceinline__ void mask_scores(Accumulators<BANDS, BLOCKS>& scores, const Rows& rows, int first_row,
                                            int first_key) {
    const int lane = threadIdx.x % 32;
    for (int band = 0; band < BANDS; ++band) {
        for (int block = 0; block < BLOCKS; ++block) {
            for (int i = 0; i < 4; ++i) {
                const int row = first_row + 16 * band + lane / 4 + 8 * (i / 2);
                const int key = first_key + 8 * block + 2 * (lane % 4) + i % 2;
                if (key >= rows.first_row_sees + row) scores[band][block][i] = -INFINITY;  // beyond kv_len, too
            }
        }
    }
}
