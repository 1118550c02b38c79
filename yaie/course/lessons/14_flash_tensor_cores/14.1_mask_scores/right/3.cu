template <typename Rows, int BANDS, int BLOCKS>
__device__ __forceinline__ void mask_scores(Accumulators<BANDS, BLOCKS>& scores, const Rows& rows, int first_row,
                                            int first_key) {
    for (int n = 0; n < BANDS * BLOCKS * 4; ++n) {
        const int i = n % 4, block = n / 4 % BLOCKS, band = n / (4 * BLOCKS);
        int row = threadIdx.x % 32 / 4, key = threadIdx.x % 4 * 2;
        if (i == 2 || i == 3) row += 8;
        if (i == 1 || i == 3) key += 1;
        row += first_row + band * 16;
        key += first_key + block * 8;
        if (!(key < rows.visible_keys(row))) scores[band][block][i] = -1.0f / 0.0f;
    }
}
