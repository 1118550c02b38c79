template <int HEAD_DIM, typename T, int BANDS, int BLOCKS, int COLUMN_BLOCKS>
__device__ __forceinline__ void add_values(const Accumulators<BANDS, BLOCKS>& weights, const uint4* values,
                                           Accumulators<BANDS, COLUMN_BLOCKS>& sums) {
    const int matrix = threadIdx.x / 8 % 4, i = threadIdx.x % 8;
#pragma unroll
    for (int block = 0; block < BLOCKS; block += 2) {
#pragma unroll
        for (int band = 0; band < BANDS; ++band) {
            uint32_t a[4];
#pragma unroll
            for (int r = 0; r < 4; ++r) {
                const float* pair = &weights[band][block + r / 2][r % 2 * 2];
                a[r] = pack<T>(pair[0], pair[1]);
            }
#pragma unroll
            for (int column = 0; column < COLUMN_BLOCKS; column += 2) {
                uint32_t b[4];
                const int key = 8 * block + matrix % 2 * 8 + i;
                yaie::ldmatrix_x4_trans(b, values + place<HEAD_DIM>(key, column + matrix / 2));
                multiply<T>(sums[band][column], a, {b[0], b[1]});
                multiply<T>(sums[band][column + 1], a, {b[2], b[3]});
            }
        }
    }
}
