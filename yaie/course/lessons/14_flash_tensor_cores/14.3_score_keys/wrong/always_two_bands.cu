// expect: HEAD_DIM 128, BANDS 1, BLOCKS 4
template <int HEAD_DIM, typename T, int BANDS, int BLOCKS>
__device__ __forceinline__ void score_keys(const uint4* queries, const uint4* keys,
                                           Accumulators<BANDS, BLOCKS>& scores) {
    const int lane = threadIdx.x % 32, first_row = threadIdx.x / 32 * 32;
    for (int chunk = 0; chunk < HEAD_DIM / 8; chunk += 2) {
        for (int block = 0; block < BLOCKS; ++block) {
            uint32_t b[2];
            yaie::ldmatrix_x2(b, &keys[place<HEAD_DIM>(8 * block + lane % 8, chunk + lane / 8 % 2)]);
            for (int band = 0; band < BANDS; ++band) {
                uint32_t a[4];
                yaie::ldmatrix_x4(a, &queries[place<HEAD_DIM>(first_row + 16 * band + lane % 16, chunk + lane / 16)]);
                multiply<T>(scores[band][block], a, b);
            }
        }
    }
}
