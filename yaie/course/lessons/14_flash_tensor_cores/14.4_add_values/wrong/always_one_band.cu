// expect: sums[row][c]
template <int HEAD_DIM, typename T, int BANDS, int BLOCKS, int COLUMN_BLOCKS>
__device__ __forceinline__ void add_values(const Accumulators<BANDS, BLOCKS>& weights, const uint4* values,
                                           Accumulators<BANDS, COLUMN_BLOCKS>& sums) {
    const int lane = threadIdx.x % 32;
    for (int block = 0; block < BLOCKS; block += 2) {
        uint32_t a[4], b[2];
        to_operand<T>(weights[0][block], weights[0][block + 1], a);
        for (int column = 0; column < COLUMN_BLOCKS; ++column) {
            yaie::ldmatrix_x2_trans(b, &values[place<HEAD_DIM>(8 * block + lane % 16, column)]);
            multiply<T>(sums[0][column], a, b);
        }
    }
}
