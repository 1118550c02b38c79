template <int HEAD_DIM, typename T, int BANDS, int BLOCKS>
__device__ __forceinline__ void score_keys(const uint4* queries, const uint4* keys,
                                           Accumulators<BANDS, BLOCKS>& scores) {
    const int lane = threadIdx.x & 31;
    const int matrix = lane >> 3, i = lane & 7;
    for (int chunk = 0; chunk < HEAD_DIM / 8; chunk += 2) {
        for (int block = 0; block < BLOCKS; block += 2) {
            uint32_t b[4];
            yaie::ldmatrix_x4(b, keys + place<HEAD_DIM>((block + (matrix >> 1)) * 8 + i, chunk + (matrix & 1)));
            for (int band = 0; band < BANDS; ++band) {
                uint32_t a[4];
                const int row = ((threadIdx.x >> 5) * BANDS + band) * 16 + (matrix & 1) * 8 + i;
                yaie::ldmatrix_x4(a, queries + place<HEAD_DIM>(row, chunk + (matrix >> 1)));
                multiply<T>(scores[band][block], a, {b[0], b[1]});
                multiply<T>(scores[band][block + 1], a, {b[2], b[3]});
            }
        }
    }
}
