template <typename T, int BANDS, int BLOCKS>
__device__ __forceinline__ void all_operands(const Accumulators<BANDS, BLOCKS>& weights,
                                             uint32_t (&a)[BANDS][BLOCKS / 2][4]) {
    for (int band = 0; band < BANDS; ++band) {
        for (int step = 0; step < BLOCKS / 2; ++step) {
            to_operand<T>(weights[band][2 * step], weights[band][2 * step + 1], a[band][step]);
        }
    }
}

template <int HEAD_DIM, typename T, int BANDS, int BLOCKS, int COLUMN_BLOCKS>
__device__ __forceinline__ void add_values(const Accumulators<BANDS, BLOCKS>& weights, const uint4* values,
                                           Accumulators<BANDS, COLUMN_BLOCKS>& sums) {
    uint32_t a[BANDS][BLOCKS / 2][4];
    all_operands<T>(weights, a);
    const int key = threadIdx.x % 16, further = threadIdx.x % 32 / 16;
    for (int pair = 0; pair < COLUMN_BLOCKS / 2; ++pair) {
        for (int step = 0; step < BLOCKS / 2; ++step) {
            uint32_t b[4];
            yaie::ldmatrix_x4_trans(b, &values[place<HEAD_DIM>(16 * step + key, 2 * pair + further)]);
            for (int half = 0; half < 2; ++half) {
                const uint32_t right[2] = {b[2 * half], b[2 * half + 1]};
                for (int band = 0; band < BANDS; ++band) multiply<T>(sums[band][2 * pair + half], a[band][step], right);
            }
        }
    }
}
