template <int HEAD_DIM>
__device__ __forceinline__ void load_operand(uint32_t (&a)[4], const uint4* tile, int first_row, int chunk) {
    const int lane = threadIdx.x % 32;
    yaie::ldmatrix_x4(a, &tile[place<HEAD_DIM>(first_row + lane % 16, chunk + lane / 16)]);
}

template <int HEAD_DIM, typename T, int BANDS, int BLOCKS>
__device__ __forceinline__ void score_keys(const uint4* queries, const uint4* keys,
                                           Accumulators<BANDS, BLOCKS>& scores) {
    const int first_row = threadIdx.x / 32 * 16 * BANDS;
    for (int chunk = 0; chunk < HEAD_DIM / 8; chunk += 2) {
        uint32_t a[BANDS][4];
        for (int band = 0; band < BANDS; ++band) load_operand<HEAD_DIM>(a[band], queries, first_row + 16 * band, chunk);
        for (int block = 0; block < BLOCKS; block += 2) {
            uint32_t b[4];  // in the order of a left operand: both blocks' first chunks, then their second ones
            load_operand<HEAD_DIM>(b, keys, 8 * block, chunk);
            for (int band = 0; band < BANDS; ++band) {
                multiply<T>(scores[band][block], a[band], {b[0], b[2]});
                multiply<T>(scores[band][block + 1], a[band], {b[1], b[3]});
            }
        }
    }
}
