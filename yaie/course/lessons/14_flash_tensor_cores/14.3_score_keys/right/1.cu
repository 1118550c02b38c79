// expect: There is a better way.
template <int HEAD_DIM, typename T, int BANDS, int BLOCKS>
__device__ __forceinline__ void score_keys(const uint4* queries, const uint4* keys,
                                           Accumulators<BANDS, BLOCKS>& scores) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
    for (int k = 0; k < HEAD_DIM / 16; ++k) {
#pragma unroll
        for (int band = 0; band < BANDS; ++band) {
            uint32_t a[4];
            const int row = 16 * (BANDS * warp + band) + lane % 16;
            yaie::ldmatrix_x4(a, &queries[place<HEAD_DIM>(row, 2 * k + lane / 16)]);
#pragma unroll
            for (int block = 0; block < BLOCKS; ++block) {  // 8 keys at a time: two matrices
                uint32_t b[2];
                yaie::ldmatrix_x2(b, &keys[place<HEAD_DIM>(8 * block + lane % 8, 2 * k + lane / 8 % 2)]);
                multiply<T>(scores[band][block], a, b);
            }
        }
    }
}
