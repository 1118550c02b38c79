// expect: it is not made by one mma
template <int HEAD_DIM, typename T, int BANDS, int BLOCKS, int COLUMN_BLOCKS>
__device__ __forceinline__ void add_values(const Accumulators<BANDS, BLOCKS>& weights, const uint4* values,
                                           Accumulators<BANDS, COLUMN_BLOCKS>& sums) {
    const int lane = threadIdx.x % 32;
    for (int key = 0; key < 8 * BLOCKS; ++key) {
        for (int band = 0; band < BANDS; ++band) {
            for (int half = 0; half < 2; ++half) {
                const float own = key % 2 ? weights[band][key / 8][2 * half + 1] : weights[band][key / 8][2 * half];
                const float weight = __shfl_sync(FULL_WARP, own, lane / 4 * 4 + key % 8 / 2);
                for (int c = 0; c < COLUMN_BLOCKS; ++c) {
                    const T* eight = reinterpret_cast<const T*>(&values[place<HEAD_DIM>(key, c)]);
                    for (int i = 0; i < 2; ++i) {
                        sums[band][c][2 * half + i] += weight * to_float(eight[lane % 4 * 2 + i]);
                    }
                }
            }
        }
    }
}
