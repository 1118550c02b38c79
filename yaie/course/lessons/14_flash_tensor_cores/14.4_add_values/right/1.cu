template <int HEAD_DIM, typename T, int BANDS, int BLOCKS, int COLUMN_BLOCKS>
__device__ __forceinline__ void add_values(const Accumulators<BANDS, BLOCKS>& weights, const uint4* values,
                                           Accumulators<BANDS, COLUMN_BLOCKS>& sums) {
    const int lane = threadIdx.x % 32;
    for (int chunk = 0; chunk < COLUMN_BLOCKS; ++chunk) {
        for (int step = 0; step < BLOCKS / 2; ++step) {  // 16 keys
            uint32_t b[2];
            yaie::ldmatrix_x2_trans(b, &values[place<HEAD_DIM>(16 * step + lane % 16, chunk)]);
            for (int band = 0; band < BANDS; ++band) {
                uint32_t a[4];
                to_operand<T>(weights[band][2 * step], weights[band][2 * step + 1], a);
                multiply<T>(sums[band][chunk], a, b);
            }
        }
    }
}
